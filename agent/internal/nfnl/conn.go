package nfnl

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// ErrInterrupted means that what was listed changed all the time while it was
// listed: no answer is a whole one.
var ErrInterrupted = errors.New("the list changed while it was read, each time")

const (
	// room is the size of a socket's receive buffer in bytes.
	room = 4 << 20
	// atOnce is how much is read at once, in bytes. The kernel fills a message of
	// a dump up to 32 KiB, when the reader has room for it.
	atOnce = 64 << 10
	// limit bounds a request: the kernel answers within the call. Only an answer
	// that was lost never comes.
	limit = 30 * time.Second
	// tries is how often a request is made that the socket failed.
	tries = 3
	// looks is how often a list that changes meanwhile is read.
	looks = 10
)

// Conn is a netlink socket in the network namespace in which it was dialled.
// It may be used by several goroutines; their calls take turns.
type Conn struct {
	mu     sync.Mutex
	nl     *netlink.Conn // nil: to be opened with the next request
	raw    syscall.RawConn
	buf    []byte
	closed bool
}

// Dial opens a socket in the calling thread's network namespace. Should it
// fail later, another is opened in that of the thread that calls then.
func Dial() (*Conn, error) {
	c := &Conn{buf: make([]byte, atOnce)}
	if err := c.open(); err != nil {
		return nil, err
	}
	return c, nil
}

// Close closes the socket. A request afterwards fails.
func (c *Conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.drop()
	return nil
}

func (c *Conn) open() error {
	if c.closed {
		return unix.EBADF
	}
	if c.nl != nil {
		return nil
	}
	nl, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return fmt.Errorf("opening a netlink socket: %w", err)
	}
	raw, err := nl.SyscallConn()
	if err == nil {
		err = nl.SetReadBuffer(room)
	}
	if err != nil {
		nl.Close()
		return fmt.Errorf("opening a netlink socket: %w", err)
	}
	c.nl, c.raw = nl, raw
	return nil
}

// drop gives the socket up, with all that is still to be read from it.
func (c *Conn) drop() {
	if c.nl != nil {
		c.nl.Close() //nolint:errcheck // it is given up
	}
	c.nl = nil
}

// transport is an error of the socket, which says nothing of the request.
type transport struct{ error }

func (t transport) Unwrap() error { return t.error }

// again makes a request until the socket does not fail it.
func (c *Conn) again(request func() error) (err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for range tries {
		if err = c.open(); err != nil {
			if c.closed {
				return err
			}
			continue
		}
		if err = c.nl.SetDeadline(time.Now().Add(limit)); err == nil {
			err = request()
		} else {
			err = transport{err}
		}
		var t transport
		if !errors.As(err, &t) {
			return err
		}
		c.drop()
	}
	return err
}

// Do has the kernel take the messages in order, in one system call, and says
// what it answered to each: nil, or a unix.Errno. The error is for all: no
// answer came, and any of them may have been taken. A batch's answers must have room in
// the socket's buffer: some 1,000.
func (c *Conn) Do(ms ...netlink.Message) (answers []error, err error) {
	err = c.again(func() error {
		answers = make([]error, len(ms))
		index := make(map[uint32]int, len(ms))
		for i := range ms {
			ms[i].Header.Sequence, ms[i].Header.PID = 0, 0 // given anew
		}
		if _, err := c.nl.SendMessages(ms); err != nil {
			return transport{err}
		}
		for i, m := range ms {
			index[m.Header.Sequence] = i
		}
		for len(index) > 0 {
			err := c.receive(func(h syscall.NlMsghdr, data []byte) error {
				i, ours := index[h.Seq]
				if !ours || h.Type != unix.NLMSG_ERROR {
					return nil
				}
				delete(index, h.Seq)
				answers[i] = answer(data)
				return nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	return answers, err
}

// Dump asks for a list and gives each of its messages to each, whose data is
// good for the call. begin is called before the first, also when a list that changed, or
// was not read to its end, is begun anew.
func (c *Conn) Dump(m netlink.Message, begin func(), each func(data []byte)) error {
	for range looks {
		interrupted := false
		err := c.again(func() (err error) {
			interrupted, err = c.dump(m, begin, each)
			return err
		})
		if err != nil || !interrupted {
			return err
		}
	}
	return ErrInterrupted
}

func (c *Conn) dump(m netlink.Message, begin func(), each func(data []byte)) (interrupted bool, err error) {
	begin()
	m.Header.Sequence, m.Header.PID = 0, 0
	m.Header.Flags |= netlink.Request | netlink.Dump
	if m, err = c.nl.Send(m); err != nil {
		return false, transport{err}
	}
	for done := false; !done; {
		err := c.receive(func(h syscall.NlMsghdr, data []byte) error {
			if h.Seq != m.Header.Sequence || done {
				return nil
			}
			interrupted = interrupted || h.Flags&unix.NLM_F_DUMP_INTR != 0
			switch h.Type {
			case unix.NLMSG_ERROR, unix.NLMSG_DONE:
				done = true
				return answer(data)
			}
			each(data)
			return nil
		})
		if err != nil {
			return false, err
		}
	}
	return interrupted, nil
}

// receive reads what the kernel has to say and visits its messages; visit's
// error ends it.
func (c *Conn) receive(visit func(syscall.NlMsghdr, []byte) error) error {
	var n int
	var err error
	wait := c.raw.Read(func(fd uintptr) bool {
		for {
			n, _, err = unix.Recvfrom(int(fd), c.buf, unix.MSG_TRUNC) // n is the message's true length
			if err != unix.EINTR {
				return err != unix.EAGAIN
			}
		}
	})
	switch {
	case wait != nil:
		return transport{fmt.Errorf("waiting for the kernel's answer: %w", wait)}
	case err != nil:
		return transport{fmt.Errorf("reading the kernel's answer: %w", err)}
	case n > len(c.buf):
		// None is that long; should one be, it is read whole the next time.
		c.buf = make([]byte, n)
		return transport{fmt.Errorf("the kernel's answer has %d bytes: %w", n, unix.EMSGSIZE)}
	}
	for b := c.buf[:n]; len(b) >= unix.NLMSG_HDRLEN; {
		h := syscall.NlMsghdr{
			Len: binary.NativeEndian.Uint32(b), Type: binary.NativeEndian.Uint16(b[4:]),
			Flags: binary.NativeEndian.Uint16(b[6:]), Seq: binary.NativeEndian.Uint32(b[8:]),
		}
		if h.Len < unix.NLMSG_HDRLEN || int(h.Len) > len(b) {
			return transport{fmt.Errorf("the kernel's answer is cut short: %w", unix.EBADMSG)}
		}
		if err := visit(h, b[unix.NLMSG_HDRLEN:h.Len]); err != nil {
			return err
		}
		b = b[min(int(h.Len+unix.NLMSG_ALIGNTO-1)&^(unix.NLMSG_ALIGNTO-1), len(b)):]
	}
	return nil
}

// answer is the error of an acknowledgement, or of a list's end.
func answer(data []byte) error {
	if len(data) < 4 {
		return nil // a list's end that says nothing
	}
	if no := int32(binary.NativeEndian.Uint32(data)); no < 0 {
		return unix.Errno(-no)
	}
	return nil
}
