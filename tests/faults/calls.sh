# Starts a program under a supervisor one of whose system calls fails, once for each case: `CALL PROGRAM CASE…`, where a
# case is `ERROR TIMES` (strace(1), inject). Prints what became of it.
call=$1 program=$2
shift 2
cd ~ || exit
start() { # start SUPERVISOR RUNTIME
    SONDE_SUPERVISOR=$1 XDG_RUNTIME_DIR=$2 timeout 60 $program 2>&1
    echo "status $?"
}
# A supervisor of a program's own ends with it.
ends() { # ends FOLDER
    for _ in $(seq 600); do
        [ -e "$1/ended" ] && return
        sleep 0.05
    done
    echo "its supervisor stays"
}
# Who has the user's door stays for a while, and strace, which has inherited the shim's socket, with it.
door=/none
[ "$call" = accept4 ] && door=$(mktemp -d)
for case; do
    folder=$(mktemp -d)
    cat >"$folder/supervisor" <<END
#!/bin/sh
strace -f -qq -b execve -o $folder/calls -e trace=$call -e inject=$call:error=${case% *}:when=${case#* } \
    /run/current-system/sw/bin/sonde "\$@"
: >$folder/ended
END
    chmod +x "$folder/supervisor"
    # Without a plan there is the most to do.
    rm -rf .cache/sonde/plans .cache/sonde/served .local/state/sonde
    echo "case $case"
    start "$folder/supervisor" "$door"
    [ "$door" = /none ] || start "$folder/supervisor" "$door"
    [ "$door" = /none ] && ends "$folder"
    # What that has left must do for one whose supervisor is well.
    start /run/current-system/sw/bin/sonde /none
    grep -h panicked .local/state/sonde/sonde.log*
    grep -q INJECTED "$folder/calls" && echo reached
done
