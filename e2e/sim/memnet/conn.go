package memnet

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// conn is one end of a connection: it reads from one pipe and writes to the
// other.
type conn struct {
	in, out       *pipe
	local, remote int
}

func (c *conn) Read(b []byte) (int, error)  { return c.in.read(b) }
func (c *conn) Write(b []byte) (int, error) { return c.out.write(b) }

// Close ends both directions: the peer reads what was written before, then
// EOF; what it writes is refused.
func (c *conn) Close() error {
	c.in.end(net.ErrClosed, syscall.EPIPE)
	c.out.end(nil, net.ErrClosed)
	return nil
}

func (c *conn) LocalAddr() net.Addr  { return address(c.local) }
func (c *conn) RemoteAddr() net.Addr { return address(c.remote) }

func (c *conn) SetDeadline(t time.Time) error {
	c.in.reading.set(c.in, t)
	c.out.writing.set(c.out, t)
	return nil
}

func (c *conn) SetReadDeadline(t time.Time) error {
	c.in.reading.set(c.in, t)
	return nil
}

func (c *conn) SetWriteDeadline(t time.Time) error {
	c.out.writing.set(c.out, t)
	return nil
}

// pipe is one direction of a connection.
type pipe struct {
	limit int

	mu               sync.Mutex
	changed          *sync.Cond
	buf              []byte
	ended            bool  // by the writer: EOF follows what is buffered
	unreadable       error // the reader has closed its end
	unwritable       error
	reading, writing deadline
}

func newPipe(limit int) *pipe {
	p := &pipe{limit: limit}
	p.changed = sync.NewCond(&p.mu)
	return p
}

func (p *pipe) read(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		switch {
		case p.unreadable != nil:
			return 0, p.unreadable
		case p.reading.passed:
			return 0, os.ErrDeadlineExceeded
		case len(b) == 0:
			return 0, nil
		case len(p.buf) > 0:
			n := copy(b, p.buf)
			p.buf = p.buf[n:]
			p.changed.Broadcast()
			return n, nil
		case p.ended:
			return 0, io.EOF
		}
		p.changed.Wait()
	}
}

func (p *pipe) write(b []byte) (n int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		switch room := p.limit - len(p.buf); {
		case p.unwritable != nil:
			return n, p.unwritable
		case p.writing.passed:
			return n, os.ErrDeadlineExceeded
		case len(b) == 0:
			return n, nil
		case room > 0:
			k := min(room, len(b))
			p.buf, b, n = append(p.buf, b[:k]...), b[k:], n+k
			p.changed.Broadcast()
		default:
			p.changed.Wait()
		}
	}
}

// end is a close by the reader, if reads fail from now on, or by the writer.
func (p *pipe) end(reads, writes error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if reads != nil {
		p.unreadable, p.buf = reads, nil
		p.reading.stop()
	} else {
		p.ended = true
		p.writing.stop()
	}
	if p.unwritable == nil || writes == net.ErrClosed { //nolint:errorlint // one of the two that Close gives
		p.unwritable = writes
	}
	p.changed.Broadcast()
}

// deadline is when one end's operations fail. Its pipe's lock guards it.
type deadline struct {
	timer  *time.Timer
	passed bool
}

func (d *deadline) set(p *pipe, t time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	d.stop()
	d.passed = !t.IsZero() && !t.After(time.Now())
	if d.passed {
		p.changed.Broadcast()
	} else if !t.IsZero() {
		var timer *time.Timer
		timer = time.AfterFunc(time.Until(t), func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			if d.timer == timer { // not replaced meanwhile
				d.passed = true
				p.changed.Broadcast()
			}
		})
		d.timer = timer
	}
}

// stop forgets the timer. The lock is held.
func (d *deadline) stop() {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
}
