// Package socket prepares sockets whose losses are counted.
package socket

import (
	"errors"
	"fmt"
	"syscall"
)

// room is what a socket holds, in bytes: seconds of small datagrams at 1,000 a
// second.
const room = 8 << 20

// Roomy lets a socket hold what comes while a busy machine does not run its
// reader, so that only the network loses datagrams. It needs CAP_NET_ADMIN.
func Roomy(c syscall.Conn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUFFORCE, room)
	})
	if err := errors.Join(err, failed); err != nil {
		return fmt.Errorf("making room in a socket: %w", err)
	}
	return nil
}
