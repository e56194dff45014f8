import org.junit.runner.Description;
import org.junit.runner.JUnitCore;
import org.junit.runner.Request;
import org.junit.runner.manipulation.Filter;
import org.junit.runner.notification.Failure;
import org.junit.runner.notification.RunListener;

/**
 * Runs test classes of ZooKeeper's own and prints a line for each test: "PASS class.method" or "FAIL class.method: why".
 * "Class/1/3" stands for one of three parts of the class.
 */
public final class OwnTests extends RunListener {
    private int run;
    private boolean failed;
    private long started;

    public static void main(String[] classes) throws Exception {
        OwnTests listener = new OwnTests();
        JUnitCore core = new JUnitCore();
        core.addListener(listener);
        for (String name : classes) {
            String[] part = name.split("/");
            Request all = Request.aClass(Class.forName("org.apache.zookeeper." + part[0]));
            core.run(part.length == 1 ? all : all.filterWith(everyNth(Integer.parseInt(part[1]), Integer.parseInt(part[2]))));
        }
        System.out.println("END " + listener.run);
        System.out.flush();
        // Not halt: the shutdown hooks end the servers.
        System.exit(0);
    }

    @Override
    public void testStarted(Description test) {
        failed = false;
        started = System.nanoTime();
    }

    @Override
    public void testFailure(Failure failure) {
        failed = true;
        String why = String.valueOf(failure.getException()).replace('\n', ' ');
        System.out.println("FAIL " + name(failure.getDescription()) + ": " + why);
        failure.getException().printStackTrace();
    }

    @Override
    public void testFinished(Description test) {
        run++;
        if (!failed) {
            System.out.println("PASS " + name(test) + " in " + (System.nanoTime() - started) / 1_000_000 + " ms");
        }
    }

    private static Filter everyNth(int first, int step) {
        return new Filter() {
            @Override
            public boolean shouldRun(Description test) {
                return !test.isTest() || Math.floorMod(test.getMethodName().hashCode(), step) == first;
            }

            @Override
            public String describe() {
                return "one of " + step;
            }
        };
    }

    private static String name(Description test) {
        return test.getTestClass().getSimpleName() + "." + test.getMethodName();
    }
}
