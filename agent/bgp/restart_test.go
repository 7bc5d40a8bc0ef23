package bgp_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os/exec"

	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/taskwall/taskwall/agent/bgp"
	"github.com/taskwall/taskwall/agent/internal/netlab"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// flow sends 1,000 packets a second from a router's network to an address of
// the host's block and back, each way over a route that was learned.
type flow struct {
	sent, got atomic.Int64
	stop      func() (lost int64)
}

func startFlow(t *testing.T, r *router) *flow {
	t.Helper()
	ip(t, "addr add 10.0.0.7/32 dev lo")
	t.Cleanup(func() { exec.Command("ip", "addr", "del", "10.0.0.7/32", "dev", "lo").Run() }) //nolint:errcheck // the namespace ends with the test
	server, err := net.ListenPacket("udp4", "10.0.0.7:7777")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	go func() {
		b := make([]byte, 64)
		for {
			n, from, err := server.ReadFrom(b)
			if err != nil {
				return
			}
			server.WriteTo(b[:n], from) //nolint:errcheck // what is lost is counted
		}
	}()
	var c net.Conn
	eventually(t, "the router's kernel has the way", func() error {
		if c, err = r.ns.DialFrom("udp", "10.0.1.7", "10.0.0.7:7777"); err != nil {
			return err
		}
		if err = netlab.Echo(c, netlab.Wait); err != nil {
			c.Close()
		}
		return err
	})
	if err := c.SetDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	roomy(t, server)
	roomy(t, c)
	f, over, done := &flow{}, make(chan struct{}), make(chan struct{})
	go func() {
		b := make([]byte, 64)
		for {
			if _, err := c.Read(b); err != nil {
				if errors.Is(err, net.ErrClosed) {
					close(done)
					return
				}
				continue // an unreachable network says so here; it is counted as lost
			}
			f.got.Add(1)
		}
	}()
	sending := make(chan struct{})
	go func() {
		defer close(sending)
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		began := time.Now()
		for {
			select {
			case <-over:
				return
			case <-tick.C:
			}
			// A busy machine skips ticks: catch up, so that it is 1,000 a second.
			for f.sent.Load() < time.Since(began).Milliseconds() {
				c.Write(binary.BigEndian.AppendUint64(nil, uint64(f.sent.Add(1)))) //nolint:errcheck // what is lost is counted
			}
		}
	}()
	stopped := false
	f.stop = func() int64 {
		if !stopped {
			stopped = true
			close(over)
			<-sending
			for limit := time.Now().Add(2 * time.Second); f.got.Load() < f.sent.Load() && time.Now().Before(limit); {
				time.Sleep(5 * time.Millisecond)
			}
			c.Close()
			<-done
		}
		return f.sent.Load() - f.got.Load()
	}
	t.Cleanup(func() { f.stop() })
	return f
}

// roomy lets a socket hold what comes while a busy machine does not run its
// reader.
func roomy(t *testing.T, c any) {
	t.Helper()
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var set error
	if err := raw.Control(func(fd uintptr) {
		set = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20)
	}); err != nil || set != nil {
		t.Fatal(err, set)
	}
}

// more waits until the flow has gone on for so many packets.
func (f *flow) more(t *testing.T, n int64) {
	t.Helper()
	from := f.sent.Load()
	eventually(t, "the flow goes on", func() error {
		if f.sent.Load() < from+n {
			return errors.New("not yet")
		}
		return nil
	})
}

// forwarding is a router's configuration that also puts what it learns in its
// own kernel, and keeps it there over its restart.
const forwarding = "protocol kernel { persist on; graceful restart on; ipv4 { export where source = RTS_BGP; }; }\n"

func (r *router) startForwarding(asn int, routes ...string) *router {
	r.ns.Do(func() error { return exec.Command("ip", "addr", "add", "10.0.1.7/32", "dev", "lo").Run() })
	r.start(asn, 64512, "|graceful restart on; direct;\n}\n"+forwarding+"protocol static more { ipv4;", routes...)
	return r
}

// writes counts what is written to the learned routes from now on.
func writes(t *testing.T) *atomic.Int64 {
	t.Helper()
	n, done, updates := new(atomic.Int64), make(chan struct{}), make(chan netlink.RouteUpdate, 100)
	if err := netlink.RouteSubscribe(updates, done); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { close(done) })
	go func() {
		for u := range updates {
			if u.Protocol == bgp.Protocol {
				n.Add(1)
			}
		}
	}()
	return n
}

// A speaker is killed and another takes its place: not a packet of a flow at
// 1,000 a second is lost, no route is written that was right, and what its
// peers withdrew meanwhile goes once they have spoken.
func TestKilledAndReplaced(t *testing.T) {
	noLeaks(t)
	r := newRouter(t, 0)
	r.startForwarding(64999, "10.0.1.0/24", "10.0.5.0/24")
	b := config(peerOn(0, 64999))
	for _, how := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		t.Run(how.String(), func(t *testing.T) {
			first := startChild(t, b, here(t))
			eventually(t, "learned", kernelHas(t, via("10.0.1.0/24", 0), via("10.0.5.0/24", 0)))
			eventually(t, "announced", func() error { return r.Has("10.0.0.0/24") })
			f := startFlow(t, r)
			f.more(t, 500)
			seen := writes(t)
			first.Process.Signal(how) //nolint:errcheck // Wait tells
			first.Wait()              //nolint:errcheck // it was killed
			eventually(t, "the peer has noticed", func() error {
				if r.Up("host") == nil {
					return errors.New("not yet")
				}
				return nil
			})
			f.more(t, 1000)
			second := startChild(t, b, here(t))
			eventually(t, "the peer has it back", func() error {
				return errors.Join(r.Up("host"), r.Has("10.0.0.0/24"))
			})
			f.more(t, 1500)
			if lost := f.stop(); lost != 0 {
				t.Errorf("%d of %d packets were lost", lost, f.sent.Load())
			}
			if n := seen.Load(); n != 0 {
				t.Errorf("%d routes were written though all were right", n)
			}
			second.Process.Kill()                                               //nolint:errcheck // Wait tells
			second.Wait()                                                       //nolint:errcheck // it was killed
			exec.Command("ip", "addr", "del", "10.0.0.7/32", "dev", "lo").Run() //nolint:errcheck // for the next
		})
	}
}

// What an earlier process left and nobody offers any more goes when all peers
// have spoken, or when the time for that is over; not before.
func TestStaleRoutes(t *testing.T) {
	noLeaks(t)
	r0, r1 := newRouter(t, 0), newRouter(t, 1)
	left := func() {
		t.Helper()
		ip(t, "route add 10.0.1.0/24 via 198.51.100.2 proto 85 metric 85")
		ip(t, "route add 10.0.2.0/24 proto 85 metric 85 nexthop via 198.51.100.2 nexthop via 198.51.101.2")
		ip(t, "route add 10.0.3.0/24 via 198.51.100.9 proto 85 metric 85")
		ip(t, "route add 10.0.9.0/24 via 198.51.101.2 proto 85 metric 85")
		ip(t, "route add 10.0.0.0/24 via 198.51.100.2 proto 85 metric 85") // our own by now
	}
	left()
	r0.start(64999, 64512, "|graceful restart on;", "10.0.1.0/24", "10.0.2.0/24", "10.0.3.0/24")
	s := speak(t, bgp.Config{})
	seen := writes(t)
	s.apply(config(peerOn(0, 64999), peerOn(1, 64999)))
	s.established("r0")
	shared := "10.0.2.0/24 metric 85 nexthop via 198.51.100.2 dev up0 weight 1 nexthop via 198.51.101.2 dev up1 weight 1"
	eventually(t, "what is wrong is right, the rest waits", kernelHas(t, via("10.0.1.0/24", 0), shared, via("10.0.3.0/24", 0), via("10.0.9.0/24", 1)))
	if s.Settled() {
		t.Error("it did not wait for the second peer")
	}
	r1.start(64999, 64512, "|graceful restart on;", "10.0.2.0/24")
	eventually(t, "all have spoken", kernelHas(t, via("10.0.1.0/24", 0), shared, via("10.0.3.0/24", 0)))
	if !s.Settled() {
		t.Error("it still waits")
	}
	if n := seen.Load(); n != 3 { // 10.0.0.0/24 and 10.0.9.0/24 gone, 10.0.3.0/24 changed
		t.Errorf("%d writes", n)
	}

	// The same with a peer that never comes: time ends it.
	s.stop()
	r1.Kill()
	ip(t, "route flush proto 85")
	left()
	s = speak(t, bgp.Config{SettleTime: 4 * time.Second})
	s.apply(config(peerOn(0, 64999), peerOn(1, 64999)))
	eventually(t, "time is over", kernelHas(t, via("10.0.1.0/24", 0), via("10.0.2.0/24", 0), via("10.0.3.0/24", 0)))
}

// A router that restarts gracefully, and one of two reflectors that goes for
// good, cost no packet.
func TestPeersThatGo(t *testing.T) {
	noLeaks(t)
	r0 := newRouter(t, 0)
	r0.startForwarding(64512, "10.0.1.0/24")
	// The other says the same of the first's network; it is not on the way.
	r1 := newRouter(t, 1).start(64512, 64512, "next hop keep; export filter { bgp_next_hop = 198.51.100.2; accept; };|", "10.0.1.0/24", "10.0.6.0/24")
	s := speak(t, bgp.Config{})
	s.apply(config(peerOn(0, 64512), peerOn(1, 64512)))
	s.established("r0", "r1")
	both := kernelHas(t, via("10.0.1.0/24", 0), via("10.0.6.0/24", 0))
	eventually(t, "learned", both)
	eventually(t, "announced", func() error { return r0.Has("10.0.0.0/24") })
	f := startFlow(t, r0)
	f.more(t, 500)

	r1.Kill() // it does not speak of restarting gracefully
	eventually(t, "it is noticed", kernelHas(t, via("10.0.1.0/24", 0)))
	f.more(t, 200)

	r0.Kill()
	eventually(t, "it is noticed", func() error {
		if l := s.last("r0"); l.State == "established" {
			return fmt.Errorf("%+v", l)
		}
		return nil
	})
	f.more(t, 1000)
	if err := kernelHas(t, via("10.0.1.0/24", 0))(); err != nil {
		t.Errorf("while it restarts: %v", err)
	}
	r0.Start("-R")
	eventually(t, "it is back", func() error { return r0.Up("host") })
	f.more(t, 500)
	if lost := f.stop(); lost != 0 {
		t.Errorf("%d of %d packets were lost", lost, f.sent.Load())
	}
}

// Another number, router id or port needs a new engine; it restarts gracefully.
func TestAnotherPort(t *testing.T) {
	noLeaks(t)
	newRouter(t, 0).start(64999, 64512, "|graceful restart on;", "10.0.1.0/24")
	s := speak(t, bgp.Config{})
	b := config(peerOn(0, 64999))
	s.apply(b)
	eventually(t, "learned", kernelHas(t, via("10.0.1.0/24", 0)))
	s.established("r0")
	seen := writes(t)
	other := *b
	other.Port = 1791
	s.apply(&other)
	eventually(t, "settled again", func() error {
		if !s.Settled() {
			return errors.New("not yet")
		}
		return kernelHas(t, via("10.0.1.0/24", 0))()
	})
	if n := seen.Load(); n != 0 {
		t.Errorf("%d routes were written though all were right", n)
	}
	for port, open := range map[string]bool{"1790": false, "1791": true} {
		c, err := net.DialTimeout("tcp4", net.JoinHostPort("198.51.100.1", port), time.Second)
		if (err == nil) != open {
			t.Errorf("port %s: %v", port, err)
		}
		if err == nil {
			c.Close()
		}
	}
}
