package mesos

import (
	"testing"
	"time"
)

// However many doubts there were, the whole state is compared as often as
// without any, or more often: a doubt never puts off what was due before.
func TestDoubtsNeverPutAComparisonOff(t *testing.T) {
	const resync = 30 * time.Second
	for name, after := range map[string]time.Duration{
		"a doubt at once":                 0,
		"a doubt when it was almost time": resync - time.Second,
	} {
		t.Run(name, func(t *testing.T) {
			story(t, Config{Resync: resync, PollAgents: time.Hour}, func(m *fakeMaster, _ *Source, _ *log) {
				<-m.opened
				for n := range 12 {
					began := time.Now()
					time.Sleep(after)
					m.say(updated("nobody's", "TASK_RUNNING", 2000))
					<-m.opened
					if d := time.Since(began); d > resync*11/10+time.Second {
						t.Fatalf("comparison %d came after %v", n+1, d)
					}
				}
			})
		})
	}
}

// Doubts that do not end are answered ever more rarely: the whole state of a
// large cluster is not asked for all the time.
func TestDoubtsAreAnsweredEverMoreRarely(t *testing.T) {
	story(t, Config{PollAgents: time.Hour, Resync: 24 * time.Hour}, func(m *fakeMaster, _ *Source, _ *log) {
		<-m.opened
		for began := time.Now(); time.Since(began) < 10*time.Minute; {
			m.say(updated("nobody's", "TASK_RUNNING", 2000))
			<-m.opened
		}
		if n := m.count("SUBSCRIBE"); n > 20 {
			t.Errorf("%d subscriptions in ten minutes", n)
		}
	})
}

// A doubt after a long time without any is looked into at once, however many
// there were before.
func TestAfterACalmADoubtIsTheFirst(t *testing.T) {
	story(t, Config{PollAgents: time.Hour, Resync: 24 * time.Hour}, func(m *fakeMaster, _ *Source, _ *log) {
		<-m.opened
		for range 8 {
			m.say(updated("nobody's", "TASK_RUNNING", 2000))
			<-m.opened
		}
		time.Sleep(2 * calm)
		began := time.Now()
		m.say(updated("nobody's", "TASK_RUNNING", 2000))
		<-m.opened
		if d := time.Since(began); d > 2*time.Second {
			t.Errorf("the whole state was compared after %v", d)
		}
	})
}

// A master that streams on and refuses a call may not lead any more: the leader
// is looked for again.
func TestAMasterThatRefusesACallIsDoubted(t *testing.T) {
	story(t, Config{PollAgents: 30 * time.Second, Resync: 24 * time.Hour}, func(m *fakeMaster, _ *Source, _ *log) {
		<-m.opened
		m.change(func(m *fakeMaster) { m.failing["GET_AGENTS"] = true })
		began := time.Now()
		<-m.opened
		if d := time.Since(began); d > 36*time.Second {
			t.Errorf("it was followed for %v", d)
		}
	})
}
