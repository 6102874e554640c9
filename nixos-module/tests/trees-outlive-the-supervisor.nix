# A program goes on loading libraries after the supervisor's unit was restarted, and after its main process was killed.
{ pkgs }:

let
  # Opens what each line names.
  program = pkgs.runCommandCC "opens-what-it-is-told" { } ''
    cat > program.c <<'END'
    #include <dlfcn.h>
    #include <stdio.h>
    int main(void) {
        char name[256];
        setvbuf(stdout, NULL, _IOLBF, 0);
        while (scanf("%255s", name) == 1) printf("%s %s\n", name, dlopen(name, RTLD_NOW) ? "loaded" : "missing");
    }
    END
    mkdir -p $out/bin
    $CC program.c -o $out/bin/program
    ${pkgs.patchelf}/bin/patchelf --remove-rpath --set-interpreter /lib64/ld-linux-x86-64.so.2 $out/bin/program
  '';
in
{
  name = "sonde-trees-outlive-the-supervisor";
  nodes.machine = {
    imports = [ ../. ];
    programs.sonde.enable = true;
    programs.sonde.offline = true;
    # The others have no tree that could be taken over.
    programs.sonde.engine = "seccomp";
    # Else the next supervisor may not read what the program asks for (docs/decisions/0007-keeper-and-ledger.md).
    boot.kernel.sysctl."kernel.yama.ptrace_scope" = 0;
    users.users.alice = {
      isNormalUser = true;
      linger = true;
      uid = 1000;
    };
  };
  testScript = ''
    machine.wait_for_unit("sonde.socket", "alice")
    machine.succeed("mkfifo -m 666 /tmp/names", "sleep infinity > /tmp/names &")
    machine.succeed(
        "su - alice -c 'XDG_RUNTIME_DIR=/run/user/1000 ${program}/bin/program < /tmp/names > /tmp/loaded' &"
    )

    def load(name):
        machine.succeed(f"echo {name} > /tmp/names")
        machine.wait_until_succeeds(f"grep '{name} loaded' /tmp/loaded", timeout=60)

    load("libz.so.1")
    machine.succeed("systemctl --user -M alice@ restart sonde.service")
    load("libbz2.so.1")
    machine.succeed("systemctl --user -M alice@ kill -s KILL --kill-who=main sonde.service")
    load("liblzma.so.5")
  '';
}
