package firewall

import (
	"cmp"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// xtablesLock is how the legacy tools call the lock that they share when they did
// not get it.
const xtablesLock = "xtables lock"

// lockHolder says which process has the xtables lock, for the person who has to
// end it; "" when none has it any more, or the kernel does not say.
func lockHolder() string {
	var lock unix.Stat_t
	if unix.Stat(cmp.Or(os.Getenv("XTABLES_LOCKFILE"), "/run/xtables.lock"), &lock) != nil { // as the tools find it
		return ""
	}
	held, err := os.ReadFile("/proc/locks")
	if err != nil {
		return ""
	}
	file := fmt.Sprintf("%02x:%02x:%d", unix.Major(lock.Dev), unix.Minor(lock.Dev), lock.Ino)
	for line := range strings.Lines(string(held)) {
		// 1: FLOCK  ADVISORY  WRITE 4321 fe:01:131 0 EOF; who waits has an arrow after the number.
		f := strings.Fields(line)
		if len(f) < 6 || f[1] != "FLOCK" || f[5] != file {
			continue
		}
		name, err := os.ReadFile("/proc/" + f[4] + "/comm")
		if err != nil {
			return " (held by process " + f[4] + ")" // of another PID namespace, or just ended
		}
		return fmt.Sprintf(" (held by %s, process %s)", strings.TrimSpace(string(name)), f[4])
	}
	return ""
}
