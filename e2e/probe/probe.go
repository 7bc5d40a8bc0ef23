// Package probe opens real connections from inside a network namespace and
// says what came of them: the ground truth for every question of the kind
// "can this task talk to that one?".
package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/taskwall/taskwall/e2e/netns"
)

// Timeout bounds a probe when its context has no earlier deadline. A packet
// that a firewall drops shows only as silence.
const Timeout = time.Second

// Verdict is what became of a connection attempt.
type Verdict string

// The verdicts. Silence and Refused both mean that no data got through: the
// first is a dropped packet, the second a reset or an ICMP error.
const (
	Open    Verdict = "open"
	Refused Verdict = "refused"
	Silence Verdict = "timeout"
)

// Result is the outcome of one probe.
type Result struct {
	Verdict Verdict
	// Answer is the server's first line: a peer says its name and the caller's
	// address as it sees it (package peer).
	Answer string
	Took   time.Duration
	// Err is why the verdict is not Open; nil when it is.
	Err error
}

// Open reports whether data came back.
func (r Result) Open() bool { return r.Verdict == Open }

// Name is the first word of a peer's answer: who it is.
func (r Result) Name() string { name, _, _ := strings.Cut(r.Answer, " "); return name }

// Source is the second word of a peer's answer: the caller's address as it sees
// it.
func (r Result) Source() string { _, src, _ := strings.Cut(r.Answer, " "); return src }

// String is for messages of failed tests.
func (r Result) String() string {
	if r.Open() {
		return fmt.Sprintf("open (%s) in %v", r.Answer, r.Took.Round(time.Millisecond))
	}
	return fmt.Sprintf("%s in %v: %v", r.Verdict, r.Took.Round(time.Millisecond), r.Err)
}

// TCP connects from the namespace that ns names (a path such as
// /run/netns/x; see Pid) and reads the server's greeting.
func TCP(ctx context.Context, ns, addr string, port int) Result {
	return run(ctx, ns, "tcp", addr, port)
}

// UDP sends one datagram, and again every 100 ms until an answer comes.
func UDP(ctx context.Context, ns, addr string, port int) Result {
	return run(ctx, ns, "udp", addr, port)
}

func run(ctx context.Context, ns, network, addr string, port int) Result {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	start := time.Now()
	answer, err := ask(ctx, ns, network, net.JoinHostPort(addr, fmt.Sprint(port)))
	r := Result{Verdict: Open, Answer: answer, Took: time.Since(start), Err: err}
	if err != nil {
		r.Verdict = Refused
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() || errors.Is(err, context.DeadlineExceeded) {
			r.Verdict = Silence
		}
	}
	return r
}

func ask(ctx context.Context, ns, network, addr string) (string, error) {
	conn, err := netns.Dial(ctx, ns, network, addr)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	buf := make([]byte, 512)
	for {
		if _, err := conn.Write([]byte("hello\n")); err != nil {
			return "", err
		}
		until := deadline
		if network == "udp" {
			if again := time.Now().Add(100 * time.Millisecond); again.Before(deadline) {
				until = again
			}
		}
		if err := conn.SetReadDeadline(until); err != nil {
			return "", err
		}
		n, err := conn.Read(buf)
		switch {
		case err == nil:
			return strings.TrimSpace(string(buf[:n])), nil
		case network == "udp" && errors.Is(err, os.ErrDeadlineExceeded) && time.Now().Before(deadline):
			continue
		default:
			return "", err
		}
	}
}

// Stream is a connection that stays, to see whether a change cuts it.
type Stream struct{ conn net.Conn }

// Hold opens a TCP connection from the namespace and reads the greeting.
func Hold(ctx context.Context, ns, addr string, port int) (*Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	conn, err := netns.Dial(ctx, ns, "tcp", net.JoinHostPort(addr, fmt.Sprint(port)))
	if err != nil {
		return nil, fmt.Errorf("open stream: %w", err)
	}
	s := &Stream{conn}
	if err := s.Ping(); err != nil {
		conn.Close()
		return nil, err
	}
	return s, nil
}

// Ping sends a line and waits up to Timeout for the answer: an error means
// that the connection no longer carries data.
func (s *Stream) Ping() error {
	if err := s.conn.SetDeadline(time.Now().Add(Timeout)); err != nil {
		return fmt.Errorf("ping stream: %w", err)
	}
	if _, err := s.conn.Write([]byte("hello\n")); err != nil {
		return fmt.Errorf("ping stream: %w", err)
	}
	if _, err := s.conn.Read(make([]byte, 512)); err != nil {
		return fmt.Errorf("ping stream: %w", err)
	}
	return nil
}

// Close ends the connection at once, without waiting for unsent data.
func (s *Stream) Close() error {
	if tcp, ok := s.conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	if err := s.conn.Close(); err != nil && !errors.Is(err, syscall.ENOTCONN) {
		return err
	}
	return nil
}
