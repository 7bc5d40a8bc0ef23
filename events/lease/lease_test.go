package lease_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/taskwall/taskwall/events/bus"
	"github.com/taskwall/taskwall/events/bus/bustest"
	"github.com/taskwall/taskwall/events/lease"
	"github.com/taskwall/taskwall/events/work"
)

const ttl = 400 * time.Millisecond

func TestMain(m *testing.M) {
	if url := os.Getenv("LEASE_TEST_URL"); url != "" {
		lead(url)
		return
	}
	bustest.Main(m)
}

// contender runs for the lease in the background.
type contender struct {
	leading chan uint64 // the epoch of each term
	lost    chan error  // the cause of its end
	done    chan error  // what Run returned
	stop    context.CancelFunc
}

func contend(t *testing.T, c *bus.Conn, name string, ttl time.Duration) *contender {
	t.Helper()
	l, err := lease.New(bustest.Context(t), c.JS, "controller", lease.Options{Name: name, TTL: ttl, Logger: bustest.Log(t).With("who", name)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	x := &contender{make(chan uint64, 10), make(chan error, 10), make(chan error, 1), cancel}
	go func() {
		x.done <- l.Run(ctx, func(ctx context.Context, epoch uint64) error {
			x.leading <- epoch
			<-ctx.Done()
			x.lost <- context.Cause(ctx)
			return nil
		})
		close(x.done)
	}()
	t.Cleanup(func() {
		cancel()
		for range x.done { //nolint:revive // until it is closed
		}
	})
	return x
}

func within[T any](t *testing.T, d time.Duration, what string, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(d):
		t.Fatalf("%s: not within %s", what, d)
		panic("unreachable")
	}
}

func TestOneLeadsUntilItStops(t *testing.T) {
	s := bustest.Server(t)
	a := contend(t, bustest.Connect(t, s), "a", ttl)
	first := within(t, 5*time.Second, "a leads", a.leading)
	b := contend(t, bustest.Connect(t, s), "b", ttl)
	select {
	case <-b.leading:
		t.Fatal("b leads beside a")
	case <-a.lost:
		t.Fatal("a lost the lead to nobody")
	case <-time.After(4 * ttl): // well beyond the time to live
	}
	a.stop()
	if second := within(t, 5*time.Second, "b leads", b.leading); second <= first {
		t.Errorf("epoch %d after %d", second, first)
	}
}

func TestCutOffHolderStops(t *testing.T) {
	s := bustest.Server(t)
	ca := bustest.Connect(t, s)
	a := contend(t, ca, "a", ttl)
	first := within(t, 5*time.Second, "a leads", a.leading)
	b := contend(t, bustest.Connect(t, s), "b", ttl)
	ca.Close()
	if err := within(t, 5*time.Second, "a stops", a.lost); !errors.Is(err, lease.ErrLost) {
		t.Errorf("a's term ended with %v", err)
	}
	if second := within(t, 5*time.Second, "b leads", b.leading); second <= first {
		t.Errorf("epoch %d after %d", second, first)
	}
}

func TestLeaderThatFailsGivesUp(t *testing.T) {
	c := bustest.Streams(t)
	l, err := lease.New(bustest.Context(t), c.JS, "controller", lease.Options{Name: "a"})
	if err != nil {
		t.Fatal(err)
	}
	leases, err := c.JS.KeyValue(bustest.Context(t), "LEASES")
	if err != nil {
		t.Fatal(err)
	}
	boom := errors.New("boom")
	err = l.Run(bustest.Context(t), func(ctx context.Context, _ uint64) error {
		if e, err := leases.Get(ctx, "controller"); err != nil || !strings.Contains(string(e.Value()), `"name":"a"`) {
			t.Errorf("while a leads: %v, %v", e, err)
		}
		return boom
	})
	if !errors.Is(err, boom) {
		t.Errorf("Run returned %v", err)
	}
	if e, err := leases.Get(bustest.Context(t), "controller"); !errors.Is(err, jetstream.ErrKeyNotFound) {
		t.Errorf("the lease is still held: %v, %v", e, err)
	}
}

// lead is what a child process does: lead, and publish work items for one host
// as fast as it can, saying on stdout what happens.
func lead(url string) {
	ctx := context.Background()
	c, err := bus.Connect(ctx, bus.Options{URLs: []string{url}})
	if err != nil {
		fmt.Println("error", err)
		return
	}
	l, err := lease.New(ctx, c.JS, "controller", lease.Options{Name: "child"})
	if err != nil {
		fmt.Println("error", err)
		return
	}
	_ = l.Run(ctx, func(_ context.Context, epoch uint64) error { //nolint:errcheck // it never returns
		p, err := work.NewPublisher(ctx, c.JS, epoch)
		fmt.Println("leading", epoch)
		for rev := p.Sent()["host"] + 1; err == nil; rev++ { // regardless of its term's end
			err = p.Publish(ctx, &work.Item{Host: "host", Rev: rev})
		}
		fmt.Println("ended", errors.Is(err, work.ErrFenced), err)
		os.Exit(0)
		return nil
	})
}

// child is a controller in a process of its own.
func child(t *testing.T, s *bus.Server) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(bustest.Context(t), exe)
	cmd.Env = append(os.Environ(), "LEASE_TEST_URL="+s.URL())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if !lines.Scan() || !strings.HasPrefix(lines.Text(), "leading ") {
		t.Fatalf("the child said %q", lines.Text())
	}
	return cmd, lines
}

// takesOver lets another controller contend after the leader is struck, and
// checks that it can publish within five seconds.
func takesOver(t *testing.T, c *bus.Conn, strike func()) {
	t.Helper()
	next := contend(t, c, "next", lease.DefaultTTL)
	start := time.Now()
	strike()
	epoch := within(t, 5*time.Second, "the next leads", next.leading)
	p, err := work.NewPublisher(bustest.Context(t), c.JS, epoch)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Publish(bustest.Context(t), &work.Item{Host: "host", Rev: p.Sent()["host"] + 1}); err != nil {
		t.Fatal(err)
	}
	took := time.Since(start)
	t.Logf("took over in %s", took)
	if took > 5*time.Second {
		t.Errorf("the takeover took %s", took)
	}
}

// wantOneLine checks that the items in the stream are those of one writer after
// the other, without gap or double.
func wantOneLine(t *testing.T, c *bus.Conn) {
	t.Helper()
	var rev, epoch uint64
	for st, err := range work.ReadItems(bustest.Context(t), c.JS, 0) {
		if err != nil || st.Err != nil {
			t.Fatal(err, st.Err)
		}
		if rev++; st.Rev != rev || st.Epoch < epoch {
			t.Fatalf("item %d of epoch %d after %d of epoch %d", st.Rev, st.Epoch, rev-1, epoch)
		}
		epoch = st.Epoch
	}
	if rev < 2 {
		t.Fatalf("only %d items were published", rev)
	}
}

func TestKilledLeaderIsReplaced(t *testing.T) {
	s := bustest.Server(t)
	c := bustest.Connect(t, s)
	if err := bus.EnsureStreams(bustest.Context(t), c.JS, bus.Retention{}, 1); err != nil {
		t.Fatal(err)
	}
	cmd, _ := child(t, s)
	takesOver(t, c, func() {
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
	})
	if err := cmd.Wait(); err == nil {
		t.Error("the child was not killed")
	}
	wantOneLine(t, c)
}

// A leader that is stopped in the middle and wakes up after its successor took
// over goes on publishing; the stream refuses it.
func TestPausedLeaderIsFenced(t *testing.T) {
	s := bustest.Server(t)
	c := bustest.Connect(t, s)
	if err := bus.EnsureStreams(bustest.Context(t), c.JS, bus.Retention{}, 1); err != nil {
		t.Fatal(err)
	}
	cmd, lines := child(t, s)
	takesOver(t, c, func() {
		if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
	})
	if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if !lines.Scan() || !strings.HasPrefix(lines.Text(), "ended true") {
		t.Errorf("the child said %q", lines.Text())
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	wantOneLine(t, c)
}
