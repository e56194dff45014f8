#!/bin/bash
# Lays out a Java ZooKeeper as a home folder: bin/zkServer.sh, bin/zkCli.sh, conf/ and lib/, its jars from Maven Central.
#   usage: get-java-zookeeper.sh VERSION TARGET        3.5.x to 3.9.x
# Needs java and mvn; takes no network where Maven's cache has the jars; does nothing where TARGET is complete.
# The caller sees to it that only one of these runs for a TARGET at a time (src/java.rs holds a lock file).
# The scripts laid out here are small ones of ours, not Apache's: start-foreground execs java, so a signal to the pid reaches the server.
set -euo pipefail
version=${1:?version}
target=${2:?target folder}
[ ! -e "$target/.laid-out" ] || exit 0

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
dependency() { echo "<dependency><groupId>$1</groupId><artifactId>$2</artifactId><version>$3</version></dependency>"; }

# A release ships more than zookeeper.jar's own dependencies: the shell's, the AdminServer's, since 3.6 the metrics', since 3.8 logback.
case $version in
  3.5.*) jetty=9.4.24.v20191120 jackson=2.9.10.2 jline=$(dependency jline jline 2.11) extra='' ;;
  3.6.*) jetty=9.4.39.v20210325 jackson=2.10.5.1 jline=$(dependency jline jline 2.14.6)
    extra=$(dependency io.dropwizard.metrics metrics-core 3.2.5)$(dependency org.xerial.snappy snappy-java 1.1.7.7) ;;
  *) jetty=9.4.57.v20241219 jackson=2.15.2 jline=$(dependency jline jline 2.14.6)
    extra=$(dependency io.dropwizard.metrics metrics-core 4.1.12.1)$(dependency org.xerial.snappy snappy-java 1.1.10.5)
    extra+=$(dependency ch.qos.logback logback-classic 1.2.13) ;;
esac
cat >"$work/pom.xml" <<P
<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>local</groupId><artifactId>zookeeper-home</artifactId><version>0</version><packaging>pom</packaging><dependencies>
$(dependency org.apache.zookeeper zookeeper "$version")$(dependency commons-cli commons-cli 1.4)$jline
$(dependency org.eclipse.jetty jetty-server $jetty)$(dependency org.eclipse.jetty jetty-servlet $jetty)
$(dependency com.fasterxml.jackson.core jackson-databind $jackson)$extra
</dependencies></project>
P
# -f: Maven would otherwise pick up a pom.xml of the folder it is started in.
copy_jars() { mvn -q -B "$@" -f "$work/pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$work/lib"; }
copy_jars -o >/dev/null 2>&1 || { rm -rf "$work/lib"; copy_jars; } >&2

rm -rf "$target"
mkdir -p "$target/bin" "$target/conf" "$target/lib"
cp "$work"/lib/*.jar "$target/lib/"

# ferrokeeper.java.log.level: a run of many failing requests is slow at INFO, Java logs each of them.
if compgen -G "$target/lib/log4j-1.2*" >/dev/null; then
  cat >"$target/conf/log4j.properties" <<'C'
ferrokeeper.java.log.level=INFO
log4j.rootLogger=${ferrokeeper.java.log.level}, CONSOLE
log4j.appender.CONSOLE=org.apache.log4j.ConsoleAppender
log4j.appender.CONSOLE.target=System.err
log4j.appender.CONSOLE.layout=org.apache.log4j.PatternLayout
log4j.appender.CONSOLE.layout.ConversionPattern=%d{ISO8601} [myid:%X{myid}] - %-5p [%t:%C{1}@%L] - %m%n
C
else
  cat >"$target/conf/logback.xml" <<'C'
<configuration><appender name="E" class="ch.qos.logback.core.ConsoleAppender"><target>System.err</target>
<encoder><pattern>%d{ISO8601} [myid:%X{myid}] - %-5p [%t:%C{1}@%L] - %m%n</pattern></encoder></appender>
<root level="${ferrokeeper.java.log.level:-INFO}"><appender-ref ref="E"/></root></configuration>
C
fi

cat >"$target/bin/zkServer.sh" <<'S'
#!/bin/bash
home=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
[ "${1:-}" = start-foreground ] || { echo "usage: zkServer.sh start-foreground CFG" >&2; exit 2; }
exec java "-Xmx${ZK_SERVER_HEAP:-256}m" ${SERVER_JVMFLAGS:-} -cp "$home/conf:$home/lib/*" org.apache.zookeeper.server.quorum.QuorumPeerMain "$2"
S
cat >"$target/bin/zkCli.sh" <<'S'
#!/bin/bash
home=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
exec java -Xmx256m ${CLIENT_JVMFLAGS:-} -cp "$home/conf:$home/lib/*" org.apache.zookeeper.ZooKeeperMain "$@"
S
chmod +x "$target/bin/zkServer.sh" "$target/bin/zkCli.sh"
touch "$target/.laid-out"
