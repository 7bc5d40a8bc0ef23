package memnet

import (
	"context"
	"fmt"
	"net"
	"sync"
	"syscall"
)

// Network is where listeners are found. All of its addresses are 127.0.0.1.
type Network struct {
	buffer int

	mu        sync.Mutex
	port      int
	listeners map[int]*listener
}

// New makes a network whose connections hold so many bytes in each direction
// that were written and not yet read.
func New(buffer int) *Network {
	return &Network{buffer: max(buffer, 1), port: 20_000, listeners: map[int]*listener{}}
}

// Listen opens the port of addr, or any if that is 0.
func (n *Network) Listen(network, addr string) (net.Listener, error) {
	at, err := net.ResolveTCPAddr(network, addr)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	port := at.Port
	if port == 0 {
		port = n.free()
	}
	if n.listeners[port] != nil {
		return nil, opError("listen", port, syscall.EADDRINUSE)
	}
	l := &listener{n: n, port: port, waiting: make(chan *conn), closed: make(chan struct{})}
	n.listeners[port] = l
	return l, nil
}

// free is a port that was never used. The lock is held.
func (n *Network) free() int {
	n.port++
	return n.port
}

// DialContext connects to whom listens at addr.
func (n *Network) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	at, err := net.ResolveTCPAddr(network, addr)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	l, port := n.listeners[at.Port], n.free()
	n.mu.Unlock()
	if l == nil {
		return nil, opError("dial", at.Port, syscall.ECONNREFUSED)
	}
	there, here := newPipe(n.buffer), newPipe(n.buffer)
	select {
	case l.waiting <- &conn{in: there, out: here, local: l.port, remote: port}:
		return &conn{in: here, out: there, local: port, remote: l.port}, nil
	case <-l.closed:
		return nil, opError("dial", at.Port, syscall.ECONNREFUSED)
	case <-ctx.Done():
		return nil, fmt.Errorf("dial %s: %w", addr, ctx.Err())
	}
}

type listener struct {
	n       *Network
	port    int
	waiting chan *conn
	closed  chan struct{}
	once    sync.Once
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.waiting:
		return c, nil
	case <-l.closed:
		return nil, opError("accept", l.port, net.ErrClosed)
	}
}

func (l *listener) Close() error {
	l.once.Do(func() {
		l.n.mu.Lock()
		delete(l.n.listeners, l.port)
		l.n.mu.Unlock()
		close(l.closed)
	})
	return nil
}

func (l *listener) Addr() net.Addr { return address(l.port) }

func address(port int) net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port} }

func opError(op string, port int, err error) error {
	return &net.OpError{Op: op, Net: "tcp", Addr: address(port), Err: err}
}
