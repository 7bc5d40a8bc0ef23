package firewall

import (
	"context"
	"fmt"
	"math/bits"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The legacy tables tell nobody when they change. What the kernel says of a
// table without copying it, how many rules it has and where its chains begin,
// differs after nearly every change, so it is asked for each second; what that
// misses, a rule in another's place, the check finds.
const legacyEvery = time.Second

// legacyInfo is struct ipt_getinfo of linux/netfilter_ipv4/ip_tables.h, and its
// IPv6 counterpart.
type legacyInfo struct {
	name       [32]byte
	validHooks uint32
	hookEntry  [5]uint32
	underflow  [5]uint32
	entries    uint32
	size       uint32
}

// getInfo is IPT_SO_GET_INFO and IP6T_SO_GET_INFO.
const getInfo = 64

// legacyTable is one that is watched.
type legacyTable struct {
	name          string
	domain, level int
}

var legacyTables = [...]legacyTable{
	{"filter", unix.AF_INET, unix.SOL_IP}, {"mangle", unix.AF_INET, unix.SOL_IP}, {"filter", unix.AF_INET6, unix.SOL_IPV6},
}

// legacyWatch tells a stranger's change of the legacy tables from ours: it
// looks at them after each of ours. What a stranger did while ours ran is left to
// the check.
type legacyWatch struct {
	mu      sync.Mutex
	sockets map[int]int // by domain; nil: nobody watches
	writing int         // programs of ours that run
	known   [len(legacyTables)]legacyInfo
}

func (w *legacyWatch) open() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sockets = map[int]int{}
	for _, domain := range []int{unix.AF_INET, unix.AF_INET6} {
		fd, err := unix.Socket(domain, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		if err != nil && domain == unix.AF_INET {
			return fmt.Errorf("watching the legacy tables: %w", err)
		}
		if err == nil { // a kernel may have no IPv6
			w.sockets[domain] = fd
		}
	}
	w.known = w.look()
	return nil
}

func (w *legacyWatch) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, fd := range w.sockets {
		unix.Close(fd) //nolint:errcheck // only read
	}
	w.sockets = nil
}

// look is how the tables are. One that is not there is all zeros.
func (w *legacyWatch) look() (all [len(legacyTables)]legacyInfo) {
	for i, t := range legacyTables {
		if fd, ok := w.sockets[t.domain]; ok {
			all[i] = t.info(fd)
		}
	}
	return all
}

// write runs what changes the tables.
func (w *legacyWatch) write(do func() error) error {
	w.mu.Lock()
	w.writing++
	w.mu.Unlock()
	err := do()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writing--
	w.known = w.look()
	return err
}

// stranger says whether somebody else changed the tables since it was last
// asked.
func (w *legacyWatch) stranger() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.writing > 0 {
		return false // it is asked again
	}
	now := w.look()
	changed := now != w.known
	w.known = now
	return changed
}

// watchLegacy is Watch for the legacy backend.
func (f *Firewall) watchLegacy(ctx context.Context, changed func()) error {
	w := &f.tools.legacy
	if err := w.open(); err != nil {
		return err
	}
	defer w.close()
	tick := time.NewTicker(legacyEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if w.stranger() {
			changed()
		}
	}
}

func (t legacyTable) info(fd int) (info legacyInfo) {
	copy(info.name[:], t.name)
	size := uint32(unsafe.Sizeof(info))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(t.level), getInfo, uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return legacyInfo{}
	}
	return info
}

// legacyBare says that a family's tables, of those that we write, hold no rule and
// no chain but the built-in ones, so that they need not be read: a host that starts.
func legacyBare(family int) bool {
	domain := map[int]int{4: unix.AF_INET, 6: unix.AF_INET6}[family]
	fd, err := unix.Socket(domain, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return false
	}
	defer unix.Close(fd) //nolint:errcheck // only read
	for _, t := range legacyTables {
		// One entry for the policy of each hook, and one that ends the table.
		if i := t.info(fd); t.domain == domain && (i.entries == 0 || int(i.entries) != bits.OnesCount32(i.validHooks)+1) {
			return false
		}
	}
	return true
}
