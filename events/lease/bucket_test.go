package lease_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/taskwall/taskwall/events/bus"
	"github.com/taskwall/taskwall/events/bus/bustest"
	"github.com/taskwall/taskwall/events/lease"
)

const leases = "KV_LEASES"

// changeTTL is what a stranger does to the bucket.
func changeTTL(t *testing.T, c *bus.Conn, ttl time.Duration) {
	t.Helper()
	ctx := bustest.Context(t)
	s, err := c.JS.Stream(ctx, leases)
	if err == nil {
		cfg := s.CachedInfo().Config
		cfg.MaxAge, cfg.Duplicates = ttl, min(cfg.Duplicates, max(ttl, 100*time.Millisecond))
		_, err = c.JS.UpdateStream(ctx, cfg)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func wantTTL(t *testing.T, c *bus.Conn, want time.Duration) {
	t.Helper()
	for ctx := bustest.Context(t); ; {
		s, err := c.JS.Stream(ctx, leases)
		if err == nil && s.CachedInfo().Config.MaxAge == want {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("leases do not live %s again", want)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// A key that does not expire, since somebody changed the bucket, or a server's
// clock went back, is taken over when its holder no longer renews it.
func TestLeaseThatDoesNotExpireIsTakenOver(t *testing.T) {
	for name, to := range map[string]time.Duration{"an hour": time.Hour, "for ever": 0} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const ttl = lease.DefaultTTL // a machine under load must be able to keep it
			s := bustest.Server(t)
			ca, cb := bustest.Connect(t, s), bustest.Connect(t, s)
			a := contend(t, ca, "a", ttl)
			first := within(t, 30*time.Second, "a leads", a.leading)
			b := contend(t, cb, "b", ttl)
			changeTTL(t, cb, to)
			select {
			case <-b.leading:
				t.Fatal("b leads beside a, which renews its lease")
			case <-a.lost:
				t.Fatal("a lost the lead to nobody")
			case <-time.After(3 * ttl):
			}
			ca.Close()
			if second := within(t, 20*time.Second, "b leads", b.leading); second <= first {
				t.Errorf("epoch %d after %d", second, first)
			}
			wantTTL(t, cb, ttl)
		})
	}
}

// A holder whose key somebody removes stops, and leads again in another term. It
// also changes back how long leases live: one that lives shorter than it takes to
// renew it would be lost again and again.
func TestKeyIsPurged(t *testing.T) {
	s := bustest.Server(t)
	c := bustest.Connect(t, s)
	a := contend(t, c, "a", time.Second)
	first := within(t, 20*time.Second, "a leads", a.leading)
	changeTTL(t, c, 500*time.Millisecond)
	kv, err := c.JS.KeyValue(bustest.Context(t), "LEASES")
	if err == nil {
		err = kv.Purge(bustest.Context(t), "controller")
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := within(t, 20*time.Second, "a stops", a.lost); !errors.Is(err, lease.ErrLost) {
		t.Errorf("a's term ended with %v", err)
	}
	if second := within(t, 20*time.Second, "a leads again", a.leading); second <= first {
		t.Errorf("epoch %d after %d", second, first)
	}
	wantTTL(t, c, time.Second)
}

// When the bucket is deleted, its holder stops, and who sets it up again goes on
// after the epochs that were used.
func TestBucketIsDeleted(t *testing.T) {
	for name, connect := range map[string]func(t *testing.T) *bus.Conn{
		"one server": func(t *testing.T) *bus.Conn { return bustest.Connect(t, bustest.Server(t)) },
		"a cluster":  func(t *testing.T) *bus.Conn { return bustest.ConnectNodes(t, bustest.Cluster(t, 3)) },
	} {
		t.Run(name, func(t *testing.T) {
			c := connect(t)
			a := contend(t, c, "a", ttl)
			first := within(t, 30*time.Second, "a leads", a.leading)
			if err := c.JS.DeleteStream(bustest.Context(t), leases); err != nil {
				t.Fatal(err)
			}
			if err := within(t, 30*time.Second, "a stops", a.lost); !errors.Is(err, lease.ErrLost) {
				t.Errorf("a's term ended with %v", err)
			}
			if err := within(t, 30*time.Second, "a gives up", a.done); err == nil || errors.Is(err, context.Canceled) {
				t.Errorf("a ended with %v", err)
			}
			const used = 1000
			for range 2 { // also when it has gone on already
				l, err := lease.New(bustest.Context(t), c.JS, "controller", lease.Options{Name: "b", TTL: ttl, After: first + used, Logger: bustest.Log(t)})
				if err != nil {
					t.Fatal(err)
				}
				stop := errors.New("stop")
				if err := l.Run(bustest.Context(t), func(_ context.Context, epoch uint64) error {
					if epoch <= first+used || epoch > first+used+20 {
						t.Errorf("epoch %d after %d", epoch, first+used)
					}
					return stop
				}); !errors.Is(err, stop) {
					t.Fatal(err)
				}
			}
		})
	}
}

// Who cannot reach the servers does not mistake that for a deleted bucket.
func TestServerIsAway(t *testing.T) {
	node := bustest.NewNode(t)
	c := bustest.ConnectNodes(t, []*bustest.Node{node})
	a := contend(t, c, "a", ttl)
	first := within(t, 30*time.Second, "a leads", a.leading)
	node.Stop()
	within(t, 30*time.Second, "a stops", a.lost)
	select {
	case err := <-a.done:
		t.Fatalf("a gave up: %v", err)
	case <-time.After(4 * ttl):
	}
	node.Start()
	if second := within(t, 20*time.Second, "a leads again", a.leading); second <= first {
		t.Errorf("epoch %d after %d", second, first)
	}
}
