package cni

import (
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// privileged says why whoever connected may not be answered: the plugin runs as
// root, like Mesos. The socket's mode says the same; this holds also when somebody
// changed it, or passed the socket on.
func privileged(c net.Conn) error {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return fmt.Errorf("a %T is no unix socket", c)
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return fmt.Errorf("asking who connected: %w", err)
	}
	var peer *unix.Ucred
	ask := raw.Control(func(fd uintptr) { peer, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if ask != nil {
		return fmt.Errorf("asking who connected: %w", ask)
	}
	if err != nil {
		return fmt.Errorf("asking who connected: %w", err)
	}
	if peer.Uid != 0 && int(peer.Uid) != os.Geteuid() {
		return fmt.Errorf("process %d of user %d connected: only root may", peer.Pid, peer.Uid)
	}
	return nil
}
