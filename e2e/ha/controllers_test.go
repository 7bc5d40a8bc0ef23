package ha

import (
	"encoding/json"
	"flag"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

var (
	faults    = flag.Int("faults", 5, "faults that TestControllers makes")
	faultSeed = flag.Uint64("fault-seed", 1, "seed of the faults")
)

// takeoverBound is what a slow machine may need; the aim is five seconds.
const (
	takeoverBound = 30 * time.Second
	takeoverAim   = 5 * time.Second
)

// TestControllers kills the leader, stops and resumes it, and cuts it off from
// NATS, both ways or one, while tasks and policies change: another takes over, nothing is lost or
// doubled, and the old leader's late words are refused.
func TestControllers(t *testing.T) {
	t.Parallel()
	p := newPlace(t, 1, 3, *faultSeed)
	kinds := []func(*contender) (mend func()){killed, stopped, cutOff(toServer, toClient), cutOff(toClient), cutOff(toServer)}
	names := []string{"killed", "stopped", "cut off", "made deaf", "made mute"}
	made, takeovers := map[string]int{}, map[string][]time.Duration{}
	var mend []func() // what is still wrong
	for i := range *faults {
		kind := i
		if i >= len(kinds) {
			kind = p.rng.IntN(len(kinds))
		}
		kind %= len(kinds)
		time.Sleep(time.Duration(p.rng.IntN(1000)) * time.Millisecond) // at any moment
		old, epoch := p.leader(takeoverBound)
		begin := time.Now()
		mend = append(mend, kinds[kind](old))
		_, next := p.leaderAfter(epoch, takeoverBound)
		took := time.Since(begin)
		p.takeovers, takeovers[names[kind]] = append(p.takeovers, took), append(takeovers[names[kind]], took)
		made[names[kind]]++
		t.Logf("the leader of term %d was %s; term %d after %s", epoch, names[kind], next, took.Round(time.Millisecond))
		if took > takeoverAim {
			t.Logf("what the controllers said meanwhile:\n%s", p.saidSince(begin))
		}
		// Sometimes at once, sometimes when the next is in trouble too: of three
		// at least one must be well.
		if len(mend) == 2 || p.rng.IntN(2) == 0 {
			time.Sleep(time.Duration(p.rng.IntN(1500)) * time.Millisecond)
			mend[0]()
			mend = mend[1:]
		}
	}
	for _, m := range mend {
		m()
	}
	p.check()
	p.checkCleanStop()
	for _, h := range p.hosts {
		if h.joins != 1 {
			t.Errorf("host %s asked %d times for its whole picture", h.name, h.joins)
		}
	}
	for name, took := range takeovers {
		slices.Sort(took)
		t.Logf("%s %d times: takeover p50 %s, max %s", name, len(took), took[len(took)/2].Round(time.Millisecond), took[len(took)-1].Round(time.Millisecond))
	}
	slices.Sort(p.takeovers)
	lost := 0
	for _, c := range p.controllers {
		lost += strings.Count(c.said(), "fenced") + strings.Count(c.said(), "the lease is lost")
	}
	t.Logf("%d faults %v; takeover p50 %s, max %s; old leaders were refused or saw it themselves %d times", len(p.takeovers), made,
		p.takeovers[len(p.takeovers)/2].Round(time.Millisecond), p.takeovers[len(p.takeovers)-1].Round(time.Millisecond), lost)
}

// saidSince is what the controllers logged since a moment, in order.
func (p *place) saidSince(begin time.Time) string {
	var lines []string
	for _, c := range p.controllers {
		for line := range strings.Lines(c.said()) {
			var said struct{ Time time.Time }
			if json.Unmarshal([]byte(line), &said) == nil && said.Time.After(begin) && !strings.Contains(line, "checkpoint of the event log") {
				lines = append(lines, said.Time.UTC().Format("15:04:05.000")+" "+c.name+" "+strings.TrimSpace(line))
			}
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func killed(c *contender) func() {
	c.kill()
	return c.start
}

func stopped(c *contender) func() {
	c.signal(syscall.SIGSTOP)
	return func() { c.signal(syscall.SIGCONT) }
}

// cutOff cuts the network between a controller and NATS. One that is deaf has
// stored what it believes not to be.
func cutOff(ways ...int) func(*contender) func() {
	return func(c *contender) func() {
		c.net.cut(ways...)
		return c.net.mend
	}
}

// checkCleanStop: a leader that is asked to stop signs the log's end, and
// another takes over without waiting for the lease to expire.
func (p *place) checkCleanStop() {
	p.t.Helper()
	old, epoch := p.leader(takeoverBound)
	begin := time.Now()
	old.stop()
	_, next := p.leaderAfter(epoch, takeoverBound)
	p.t.Logf("the leader of term %d stopped; term %d after %s", epoch, next, time.Since(begin).Round(time.Millisecond))
	p.checkSignedBefore(next)
}
