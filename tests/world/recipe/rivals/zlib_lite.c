/* A libz.so.1 that compresses nothing and lacks inflate*, uncompress and gz*: a program that needs them cannot run. */
const char *zlibVersion(void) { return "0.9-lite"; }
unsigned long crc32(unsigned long crc, const unsigned char *data, unsigned len) { (void)data; return crc ^ len; }
unsigned long adler32(unsigned long adler, const unsigned char *data, unsigned len) { (void)data; return adler + len; }
int deflateInit_(void *stream, int level, const char *version, int size) { (void)stream; (void)level; (void)version; return size ? -6 : -2; }
int deflateEnd(void *stream) { (void)stream; return -2; }
