# Ends a test cluster that nobody uses any more, also when its users were killed.
#
#   sh watchdog.sh FOLDER SECONDS
#
# FOLDER/users holds one file for each process that uses the cluster, named by its process id; FOLDER/server.pid the server's
# process id while it runs. After SECONDS without a living user the server is stopped and the folder removed. The file
# `closing` keeps newcomers out: they register first and look for it then, this script does it the other way round.

folder=$1
seconds=$2

used() {
    for user in "$folder"/users/*; do
        if kill -0 "${user##*/}" 2>/dev/null; then return 0; fi
        rm -f "$user"
    done
    return 1
}

idle=0
while [ -d "$folder" ]; do
    sleep 1
    if used; then idle=0; continue; fi
    idle=$((idle + 1))
    if [ "$idle" -lt "$seconds" ]; then continue; fi
    : >"$folder/closing"
    if used; then rm -f "$folder/closing"; idle=0; continue; fi
    server=$(cat "$folder/server.pid" 2>/dev/null)
    if [ -n "$server" ] && kill -QUIT "$server" 2>/dev/null; then
        kill -CONT "$server"
        tries=0
        while [ "$tries" -lt 100 ] && kill -0 "$server" 2>/dev/null; do
            sleep 0.1
            tries=$((tries + 1))
        done
    fi
    mv "$folder" "$folder.ended.$$" && rm -rf "$folder.ended.$$"
done
