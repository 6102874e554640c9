/* The stub that CUDA's toolkit carries for linking: every call says there is no driver. */
int cuInit(unsigned flags) { (void)flags; return 34; /* CUDA_ERROR_STUB_LIBRARY */ }
int cuDriverGetVersion(int *version) { *version = 0; return 34; }
