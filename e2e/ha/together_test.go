package ha

import (
	"flag"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/taskwall/taskwall/events/bus"
)

var disasters = flag.Int("disasters", 1, "times that TestTogether has everything fail at once")

// TestTogether has what the other tests do one after the other happen at once: the
// controller that leads, the NATS server that leads the log, the Mesos master and
// Marathon fail together and come back in any order, while tasks and policies
// change.
func TestTogether(t *testing.T) {
	t.Parallel()
	p := newPlace(t, 3, 3, *faultSeed)
	for range *disasters {
		time.Sleep(time.Duration(p.rng.IntN(1000)) * time.Millisecond) // at any moment
		leader, epoch := p.leader(takeoverBound)
		node := p.leads(bus.EventsStream)
		begin := time.Now()
		faults := []struct {
			what string
			make func() (mend func())
		}{
			{"the leader was killed", func() func() { return killed(leader) }},
			{"the leader was stopped", func() func() { return stopped(leader) }},
			{"its NATS server was killed", func() func() { node.kill(); return node.start }},
			{"its NATS server was stopped", func() func() {
				node.signal(syscall.SIGSTOP)
				return func() { node.signal(syscall.SIGCONT) }
			}},
			{"the Mesos master died", p.noMaster},
			{"Marathon lost its leader", func() func() {
				p.sim.Marathon.SetLeaderless(true)
				return func() { p.sim.Marathon.SetLeaderless(false) }
			}},
			{"all streams were cut", func() func() { p.sim.CutStreams(); return func() {} }},
		}
		// One of each pair that can't both be, and each of the rest or not.
		chosen := []int{p.rng.IntN(2), 2 + p.rng.IntN(2)}
		for i := 4; i < len(faults); i++ {
			if p.rng.IntN(3) > 0 {
				chosen = append(chosen, i)
			}
		}
		p.rng.Shuffle(len(chosen), func(i, j int) { chosen[i], chosen[j] = chosen[j], chosen[i] })
		var said []string
		var mend []func()
		for _, i := range chosen {
			said, mend = append(said, faults[i].what), append(mend, faults[i].make())
			time.Sleep(time.Duration(p.rng.IntN(300)) * time.Millisecond)
		}
		p.rng.Shuffle(len(mend), func(i, j int) { mend[i], mend[j] = mend[j], mend[i] })
		for _, m := range mend {
			time.Sleep(time.Duration(p.rng.IntN(4000)) * time.Millisecond) // a takeover fits in, or does not
			m()
		}
		stall := p.awaitProgress(begin)
		p.awaitReplicas()
		_, next := p.leader(takeoverBound)
		t.Logf("term %d: %s; term %d, the longest stall of the fold was %s", epoch, strings.Join(said, ", "), next, stall.Round(time.Millisecond))
	}
	p.check()
}

// noMaster kills the Mesos master.
func (p *place) noMaster() (mend func()) {
	if err := p.sim.StopMaster(); err != nil {
		p.t.Error(err)
	}
	return func() {
		if err := p.sim.StartMasters(); err != nil {
			p.t.Error(err)
		}
	}
}
