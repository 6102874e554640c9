# A program as it would have come from elsewhere: it wants a loader at /lib64 and zlib from anywhere. What it prints shows
# that both were found.
{ pkgs }:

pkgs.runCommandCC "foreign-program" { buildInputs = [ pkgs.zlib ]; } ''
  cat > program.c <<'END'
  #include <stdio.h>
  #include <zlib.h>
  int main(void) { return printf("zlib %s\n", zlibVersion()) < 0; }
  END
  mkdir -p $out/bin
  $CC program.c -lz -o $out/bin/foreign-program
  ${pkgs.patchelf}/bin/patchelf --remove-rpath --set-interpreter /lib64/ld-linux-x86-64.so.2 $out/bin/foreign-program
''
