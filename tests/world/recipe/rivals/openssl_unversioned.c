/* Stands for libssl.so.3 and libcrypto.so.3 without symbol versions: ld.so refuses it to whoever needs OPENSSL_3.0.0. */
unsigned long OpenSSL_version_num(void) { return 0x1010117fUL; }
const char *OpenSSL_version(int what) { (void)what; return "OpenSSL 1.1.1w (rival)"; }
void *SSL_CTX_new(const void *method) { (void)method; return 0; }
const void *TLS_client_method(void) { return 0; }
