package firewall

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Who keeps the xtables lock is named with what failed for it.
func TestNamesWhoHasTheXtablesLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "xtables.lock")
	t.Setenv("XTABLES_LOCKFILE", path)
	if s := lockHolder(); s != "" {
		t.Errorf("without a lock: %q", s)
	}
	lock, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if s := lockHolder(); s != "" {
		t.Errorf("with a lock that nobody holds: %q", s)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	unlucky(t, Legacy, "echo 'Another app is currently holding the xtables lock.' >&2; exit 4")()
	tl := &tools{backend: Legacy}
	err = tl.restore(t.Context(), 4, func() string { return "" })
	if want := fmt.Sprintf(", process %d)", os.Getpid()); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("the error does not name this process: %v", err)
	}
}
