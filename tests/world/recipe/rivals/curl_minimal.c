/* A libcurl.so.4 with a foreign symbol version. */
const char *curl_version(void) { return "libcurl/7.10 (rival)"; }
void *curl_easy_init(void) { return 0; }
void curl_easy_cleanup(void *handle) { (void)handle; }
int curl_global_init(long flags) { (void)flags; return 2; }
