package wan

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/taskwall/taskwall/e2e/netns"
	"github.com/taskwall/taskwall/e2e/socket"
)

// Meter sends a datagram each millisecond from one task to another and back,
// and so measures what a change of the network costs a flow.
type Meter struct {
	conn net.Conn
	stop context.CancelFunc
	work sync.WaitGroup

	mu       sync.Mutex
	sent     int
	received int
	last     time.Time     // of an answer
	gap      time.Duration // the longest time without one
}

// StartMeter starts a flow from a namespace to an address and UDP port where a
// peer listens.
func StartMeter(ctx context.Context, ns, address string, port int) (*Meter, error) {
	conn, err := netns.Dial(ctx, ns, "udp", net.JoinHostPort(address, fmt.Sprint(port)))
	if err != nil {
		return nil, fmt.Errorf("opening the measured flow: %w", err)
	}
	if err := socket.Roomy(conn.(*net.UDPConn)); err != nil {
		conn.Close()
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	m := &Meter{conn: conn, stop: cancel, last: time.Now()}
	m.work.Go(func() { m.send(ctx) })
	m.work.Go(m.receive)
	return m, nil
}

// Received is how many answers have come so far.
func (m *Meter) Received() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.received
}

func (m *Meter) send(ctx context.Context) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for n := uint64(0); ; n++ {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		// An error here is a refusal or a missing route: the datagram is lost.
		if _, err := m.conn.Write(binary.BigEndian.AppendUint64(nil, n)); errors.Is(err, net.ErrClosed) {
			return
		}
		m.mu.Lock()
		m.sent++
		m.mu.Unlock()
	}
}

func (m *Meter) receive() {
	buf := make([]byte, 2048)
	for {
		_, err := m.conn.Read(buf)
		if errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
		if err != nil {
			continue // an ICMP error of a datagram before
		}
		now := time.Now()
		m.mu.Lock()
		m.received++
		m.gap = max(m.gap, now.Sub(m.last))
		m.last = now
		m.mu.Unlock()
	}
}

// Loss is what a flow has suffered.
type Loss struct {
	Sent, Received int
	Gap            time.Duration // the longest time without an answer
}

// Lost is how many datagrams, or their answers, did not arrive.
func (l Loss) Lost() int { return l.Sent - l.Received }

// Stop ends the flow and says what it suffered.
func (m *Meter) Stop() Loss {
	m.stop()
	// What is under way may still arrive.
	_ = m.conn.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
	m.work.Wait()
	m.conn.Close()
	m.mu.Lock()
	defer m.mu.Unlock()
	return Loss{m.sent, m.received, m.gap}
}
