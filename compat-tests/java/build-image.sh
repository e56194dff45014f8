#!/bin/bash
# Build an image zookeeper:VERSION from what this machine has, where no registry can be reached: a Java runtime by jlink,
# bash and a few tools with their libraries, and the home that get-java-zookeeper.sh lays out.
#   usage: build-image.sh VERSION        needs a running engine (start-docker.sh), a JDK with jlink, mvn
# Like the official image it takes ZOO_MY_ID, ZOO_SERVERS ("server.1=… server.2=…"), ZOO_TICK_TIME, ZOO_INIT_LIMIT, ZOO_SYNC_LIMIT,
# ZOO_STANDALONE_ENABLED, ZOO_ADMINSERVER_ENABLED, ZOO_4LW_COMMANDS_WHITELIST, ZOO_CFG_EXTRA, JVMFLAGS; and ZOO_CLIENT_PORT, since
# with --network host two containers share the ports. /conf/zoo.cfg is written at start unless it is there.
set -euo pipefail
V=${1:?version}
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
W=$(mktemp -d)
trap 'rm -rf "$W"' EXIT
R=$W/root
mkdir -p "$R"/{bin,usr,lib64,tmp,data,datalog,conf,etc,root}
bash "$HERE/get-java-zookeeper.sh" "$V" "$R/zookeeper" >/dev/null
jlink --add-modules java.se,jdk.unsupported,jdk.crypto.ec,jdk.naming.dns --strip-debug --no-man-pages --no-header-files --compress=2 --output "$R/opt/java" 2>/dev/null || {
  mkdir -p "$R/opt"; jlink --add-modules java.se,jdk.unsupported,jdk.crypto.ec,jdk.naming.dns --no-man-pages --no-header-files --output "$R/opt/java"; }
tools=(bash cat chmod cp date dirname env grep hostname id kill ls mkdir mktemp nohup rm sed seq sleep tail tr)
for t in "${tools[@]}"; do p=$(type -P "$t"); cp -L "$p" "$R/bin/$t"; done
ln -s bash "$R/bin/sh"; ln -s ../bin "$R/usr/bin"
{ for t in "${tools[@]}"; do ldd "$(type -P "$t")"; done; find "$R/opt/java" -name '*.so' -o -path '*/bin/java' | xargs -n1 env LD_LIBRARY_PATH="$R/opt/java/lib:$R/opt/java/lib/server" ldd; } 2>/dev/null |
  grep -oE '/[^ ]+\.so[^ ]*' | grep -v "^$R" | sort -u | while read -r l; do mkdir -p "$R$(dirname "$l")"; cp -L "$l" "$R$l"; done
for l in libnss_files.so.2 libnss_dns.so.2; do f=$(ls /lib/*/"$l" 2>/dev/null | head -1); [ -z "$f" ] || { mkdir -p "$R$(dirname "$f")"; cp -L "$f" "$R$f"; }; done
echo 'root:x:0:0:root:/root:/bin/bash' >"$R/etc/passwd"
echo 'hosts: files dns' >"$R/etc/nsswitch.conf"
cat >"$R/docker-entrypoint.sh" <<'E'
#!/bin/bash
set -e
cfg=/conf/zoo.cfg
if [ ! -e $cfg ]; then
  { echo "dataDir=/data"; echo "dataLogDir=/datalog"; echo "clientPort=${ZOO_CLIENT_PORT:-2181}"
    echo "tickTime=${ZOO_TICK_TIME:-2000}"; echo "initLimit=${ZOO_INIT_LIMIT:-5}"; echo "syncLimit=${ZOO_SYNC_LIMIT:-2}"
    echo "standaloneEnabled=${ZOO_STANDALONE_ENABLED:-true}"; echo "admin.enableServer=${ZOO_ADMINSERVER_ENABLED:-true}"
    [ -z "$ZOO_4LW_COMMANDS_WHITELIST" ] || echo "4lw.commands.whitelist=$ZOO_4LW_COMMANDS_WHITELIST"
    for s in $ZOO_SERVERS; do echo "$s"; done
    for s in $ZOO_CFG_EXTRA; do echo "$s"; done; } >$cfg
fi
[ -e /data/myid ] || echo "${ZOO_MY_ID:-1}" >/data/myid
exec "$@"
E
printf '#!/bin/bash\nexec /zookeeper/bin/zkServer.sh "$1" "${2:-/conf/zoo.cfg}"\n' >"$R/bin/zkServer.sh"
printf '#!/bin/bash\nexec /zookeeper/bin/zkCli.sh "$@"\n' >"$R/bin/zkCli.sh"
chmod +x "$R/docker-entrypoint.sh" "$R"/bin/zk*.sh
tar -C "$R" -c . | docker import --change 'ENV PATH=/opt/java/bin:/bin' --change 'WORKDIR /' --change 'ENTRYPOINT ["/docker-entrypoint.sh"]' \
  --change 'CMD ["zkServer.sh","start-foreground"]' --change 'EXPOSE 2181 2888 3888 8080' - "zookeeper:$V" >/dev/null
docker image ls "zookeeper:$V" --format '{{.Repository}}:{{.Tag}} {{.Size}}'
