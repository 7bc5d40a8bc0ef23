package attach

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// ipv6 is the directory of a network namespace's IPv6 settings. It stays that of
// the namespace in which it was opened, whoever uses it. Files of /proc are opened
// by the bare system calls: package os asks the kernel five more questions for each.
type ipv6 int

// noIPv6 is that of a kernel that has none.
const noIPv6 ipv6 = -1

// openIPv6 opens that of the calling thread's namespace.
func openIPv6() (ipv6, error) {
	const settings = "/proc/sys/net/ipv6/conf"
	fd, err := unix.Open(settings, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return noIPv6, nil
	}
	if err != nil {
		return noIPv6, fmt.Errorf("opening %s: %w", settings, err)
	}
	return ipv6(fd), nil
}

func (v ipv6) Close() {
	if v != noIPv6 {
		unix.Close(int(v)) //nolint:errcheck // it was only a name
	}
}

// off turns IPv6 off on an interface of the namespace.
func (v ipv6) off(iface string) error {
	if v == noIPv6 {
		return nil
	}
	fd, err := unix.Openat(int(v), iface+"/disable_ipv6", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("turning IPv6 off on %s: %w", iface, err)
	}
	defer unix.Close(fd) //nolint:errcheck // the write says it all
	if _, err := unix.Write(fd, []byte("1")); err != nil {
		return fmt.Errorf("turning IPv6 off on %s: %w", iface, err)
	}
	return nil
}
