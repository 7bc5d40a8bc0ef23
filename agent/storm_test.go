package agent_test

import (
	"bytes"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/taskwall/taskwall/agent"
	"github.com/taskwall/taskwall/agent/internal/netlab"
	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/work"
)

var (
	stormRounds = flag.Int("storm", 6, "how many containers each executor of TestStorm has, one after the other")
	stormSeed   = flag.Uint64("storm-seed", 1, "what happens to them, at random")
)

// patience is of a loaded machine, not of a firewall.
const patience = 10 * time.Second

// storm is what the calls at once share.
type storm struct {
	t        *testing.T
	l        *lab
	d        *dockerDaemon
	networks []string

	posting sync.Mutex // held to speak as the controller, and while the agent is restarted

	mu     sync.Mutex
	last   map[string]events.WiringState // by endpoint
	news   chan struct{}                 // closed and replaced when last changes
	rev    uint64                        // the last that was applied
	drifts []string
}

// Executors come and go, each with its containers one after the other: of several
// networks, pods with a task that has a network of its own, Docker tasks. All that
// is asked about them is asked at once: ADD, DEL, CHECK, GC, announcements and ends,
// while policies change, the checks and the sweep never rest and, in one of the two,
// the agent is killed again and again. No call fails that should not; whoever is
// attached is reached by each of its addresses and reaches others; nothing counts as
// drift; that it is detached is the last that is heard of each endpoint; and nothing
// is left.
func TestStorm(t *testing.T) {
	t.Run("calls", func(t *testing.T) { storms(t, false) })
	t.Run("calls and kills", func(t *testing.T) { storms(t, true) })
}

func storms(t *testing.T, kills bool) {
	s := &storm{t: t, d: newDockerDaemon(t), networks: []string{"taskwall", "dmz", "audit"}, last: map[string]events.WiringState{}, news: make(chan struct{})}
	s.l = newLab(t, func(c *agent.Config) {
		c.Backend, c.Networks, c.DockerSocket = "nft", s.networks, s.d.socket
		c.WaitTimeout, c.CheckEvery, c.SweepEvery = time.Minute, 20*time.Millisecond, 5*time.Millisecond
		if c.Logger = slog.New(slog.NewTextHandler(noErrors{t}, &slog.HandlerOptions{Level: slog.LevelWarn})); kills {
			c.Logger = nil
		}
	})
	s.l.must(work.Item{Programs: []work.Program{open("open")}})
	peer := s.l.run("peer", "10.0.0.250", "open")
	peer.Serve("tcp", "10.0.0.250:80")
	s.l.mu.Lock()
	s.l.hear = s.hear
	s.l.mu.Unlock()

	done := make(chan struct{})
	var others, executors sync.WaitGroup
	others.Go(func() { s.disturb(rand.New(rand.NewPCG(*stormSeed, 99)), kills, done) })
	for i, life := range []func(*executor, int){
		(*executor).networksLife, (*executor).networksLife, (*executor).networksLife, (*executor).podLife, (*executor).dockerLife,
	} {
		x := &executor{storm: s, rnd: rand.New(rand.NewPCG(*stormSeed, uint64(i))), name: fmt.Sprint("x", i), nth: i, more: i % len(s.networks)}
		executors.Go(func() {
			for n := 0; n < *stormRounds && !t.Failed(); n++ {
				life(x, n)
			}
		})
	}
	executors.Wait()
	close(done)
	others.Wait()
	if t.Failed() {
		return
	}
	s.end("fw/peer")
	peer.del()
	rev := s.post(work.Item{Delete: &work.Deletions{Programs: []string{"open"}}})
	s.await("the last item", func() bool { return s.rev >= rev })
	s.mu.Lock()
	all := slices.Collect(maps.Keys(s.last))
	s.mu.Unlock()
	s.awaitDetached(all...)
	eventually(t, "the end of all interfaces and records", func() bool { return len(veths(t))+len(attachments(t, s.l)) == 0 })
	s.l.stop()
	nothingLeft(t, s.l, "nft")
	if len(s.drifts) > 0 {
		t.Errorf("taken for drift: %q", s.drifts)
	}
}

// noErrors is the log of an agent to which nothing bad happens.
type noErrors struct{ t *testing.T }

func (w noErrors) Write(b []byte) (int, error) {
	if bytes.Contains(b, []byte("level=ERROR")) {
		w.t.Errorf("%s", b)
	}
	return logWriter{w.t}.Write(b)
}

// hear takes the agent's reports in.
func (s *storm) hear(r work.Report) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case r.Wiring != nil:
		s.last[r.Wiring.Endpoint] = r.Wiring.State
	case r.Drift != nil:
		s.drifts = append(s.drifts, r.Drift.What)
	case r.Applied != nil:
		s.rev = r.Applied.Rev
		if len(r.Applied.Failed) > 0 {
			s.t.Errorf("not applied: %+v", r.Applied.Failed)
		}
	}
	close(s.news)
	s.news = make(chan struct{})
}

// await waits until what was heard is as it should be.
func (s *storm) await(what string, ok func() bool) {
	limit := time.After(time.Minute)
	for {
		s.mu.Lock()
		is, news := ok(), s.news
		s.mu.Unlock()
		if is {
			return
		}
		select {
		case <-news:
		case <-limit:
			s.t.Fatalf("%s is not heard", what)
		}
	}
}

func (s *storm) awaitDetached(ids ...string) {
	for _, id := range ids {
		s.await("as the last of "+id+" that it is detached", func() bool { return s.last[id] == events.Detached })
	}
}

func (s *storm) post(it work.Item) (rev uint64) {
	s.posting.Lock()
	defer s.posting.Unlock()
	s.l.post(it)
	return s.l.rev
}

// put announces endpoints, of which nothing was heard since.
func (s *storm) put(eps ...work.Endpoint) {
	s.posting.Lock()
	defer s.posting.Unlock()
	s.mu.Lock()
	for _, ep := range eps {
		s.last[ep.ID] = ""
	}
	s.mu.Unlock()
	s.l.post(work.Item{Endpoints: eps})
}

func (s *storm) end(ids ...string) (rev uint64) {
	return s.post(work.Item{Delete: &work.Deletions{Endpoints: ids}})
}

// restart kills the agent; the next is told of the ends that were not confirmed.
func (s *storm) restart() {
	s.posting.Lock()
	defer s.posting.Unlock()
	s.l.kill()
	s.l.start()
	it := *s.l.wanted.Item(s.l.cfg.Host)
	it.Delete = &work.Deletions{}
	s.mu.Lock()
	for id, last := range s.last {
		if _, is := s.l.wanted.Endpoints[id]; !is && last != events.Detached {
			it.Delete.Endpoints = append(it.Delete.Endpoints, id)
		}
	}
	s.mu.Unlock()
	s.l.post(it)
}

// disturb is what goes on beside the calls.
func (s *storm) disturb(rnd *rand.Rand, kills bool, done chan struct{}) {
	for {
		select {
		case <-done:
			return
		case <-time.After(time.Duration(rnd.IntN(int(100 * time.Millisecond)))):
		}
		switch n := rnd.IntN(10); {
		case n < 5:
			p := open("open")
			p.Ingress[0].Rules = append(p.Ingress[0].Rules, allow(6, "", uint16(1+rnd.IntN(1000))))
			s.post(work.Item{Programs: []work.Program{p}})
		case n < 8 || !kills:
			s.l.gc("nobody's")
		default:
			s.restart()
		}
	}
}

// executor is one that has many containers, one after the other.
type executor struct {
	*storm
	rnd  *rand.Rand
	name string
	nth  int // of the executors
	gen  int // how often its end was confirmed: then it gets other addresses,
	more int // and another number of networks than one
}

func (x *executor) endpoint(id, network string, nth int) work.Endpoint {
	ep := endpoint(x.name, fmt.Sprintf("10.0.0.%d", (3*x.nth+nth)*16+x.gen%16), "open")
	ep.ID, ep.Network = id, network
	return ep
}

// together has each of several calls made at once.
func together[T any](of []T, call func(T)) (wait func()) {
	var calls sync.WaitGroup
	for _, v := range of {
		calls.Go(func() { call(v) })
	}
	return calls.Wait
}

// face is an interface of a container, and the endpoint that it belongs to.
type face struct {
	*task
	iface string
	ep    work.Endpoint
}

func (f face) cni(command string) (string, int) { return f.call(command, f.ep.Network, f.iface) }

func (f face) must(command string) {
	if out, exit := f.cni(command); exit != 0 || command == "ADD" && !strings.Contains(out, f.ep.Address.String()+"/32") {
		f.l.t.Errorf("%s of %s by %s: exit %d, %s", command, f.ep.ID, f.container, exit, out)
	}
}

// mayAdd is an ADD that may meet the endpoint's end, or its container's.
func (f face) mayAdd() {
	out, exit := f.cni("ADD")
	if exit != 0 && !strings.Contains(out, agent.ErrGone.Error()) && !strings.Contains(out, "the container was removed while its network was made") {
		f.l.t.Errorf("ADD of %s by %s, which ends: %s", f.ep.ID, f.container, out)
	}
}

// meets has the host reach the interface and, by its address, the interface another task.
func (f face) meets() {
	c, err := net.DialTimeout("tcp4", f.ep.Address.String()+":80", patience)
	if err == nil {
		err = netlab.Echo(c, patience)
		c.Close()
	}
	if err != nil {
		f.l.t.Errorf("the host cannot reach %s: %v", f.ep.ID, err)
	}
	f.Do(func() error {
		d := net.Dialer{Timeout: patience, LocalAddr: &net.TCPAddr{IP: f.ep.Address.AsSlice()}}
		if c, err = d.Dial("tcp4", "10.0.0.250:80"); err == nil {
			err = netlab.Echo(c, patience)
			c.Close()
		}
		if err != nil {
			f.l.t.Errorf("%s cannot reach another task: %v", f.ep.ID, err)
		}
		return nil
	})
}

// life is the life of a container with several interfaces.
func (x *executor) life(faces ...face) {
	var eps []work.Endpoint
	var ids []string
	for _, f := range faces {
		eps, ids = append(eps, f.ep), append(ids, f.ep.ID)
	}
	add, fate := face.mayAdd, x.rnd.IntN(10)
	if fate < 6 {
		add = func(f face) { f.must("ADD") }
	}
	early := x.rnd.IntN(2) == 0
	if early {
		x.put(eps...)
	}
	added := together(faces, add)
	if !early {
		x.put(eps...)
	}
	del := func() { together(faces, func(f face) { f.must("DEL") })() }
	var ended uint64
	end := func() { ended = x.end(ids...) }
	if fate < 6 {
		added()
		together(append(faces, faces...), func(f face) { f.must("ADD") })()
		together(append(faces, faces...), func(f face) { f.must("CHECK") })()
		together(faces, face.meets)()
	}
	order := []func(){end, del}
	x.rnd.Shuffle(2, func(i, j int) { order[i], order[j] = order[j], order[i] })
	if x.rnd.IntN(2) == 0 {
		together(order, func(f func()) { f() })()
	} else {
		order[0]()
		order[1]()
	}
	over := make(chan struct{})
	go func() {
		defer close(over)
		added()
	}()
	for waits := true; waits; { // an ADD that came after its DEL waits for the next
		select {
		case <-over:
			waits = false
		case <-time.After(20 * time.Millisecond):
			del()
		}
	}
	if x.rnd.IntN(2) == 0 { // else what such an ADD has made is the sweep's
		del()
	}
	for _, f := range faces {
		x.l.mesos.remove(f.container)
		f.Remove()
	}
	if x.rnd.IntN(2) == 0 {
		x.awaitDetached(ids...)
		x.await("the end of "+x.name, func() bool { return x.rev >= ended })
		x.gen++
		x.more = x.rnd.IntN(len(x.networks))
	}
}

// networksLife is one container on some of the networks.
func (x *executor) networksLife(n int) {
	tk := x.container(fmt.Sprint("c-", x.name, "-", n))
	tk.Serve("tcp", ":80")
	var faces []face
	for nth, network := range x.networks[:1+x.more] {
		id := work.EndpointID("fw/"+x.name, network, nth)
		faces = append(faces, face{tk, fmt.Sprint("eth", nth), x.endpoint(id, network, nth)})
	}
	x.life(faces...)
}

// podLife is a pod, a task of which has a network of its own.
func (x *executor) podLife(n int) {
	pod := x.container(fmt.Sprint("c-", x.name, "-", n))
	own := pod.child("own")
	x.l.mesos.nest(own.container, x.name, "own")
	pod.Serve("tcp", ":80")
	own.Serve("tcp", ":80")
	x.life(face{pod, "eth0", x.endpoint("fw/"+x.name, "taskwall", 0)}, face{own, "eth0", x.endpoint("fw/"+own.executor, "taskwall", 1)})
}

// dockerLife is a process of Docker's.
func (x *executor) dockerLife(n int) {
	name := fmt.Sprint(x.name, "-", n)
	ep := x.endpoint("fw/"+name, "taskwall", 0)
	ep.Docker = true
	x.put(ep)
	tk := x.l.dockerRun(x.d, name, "none")
	tk.Serve("tcp", ":80")
	if x.rnd.IntN(2) == 0 {
		for limit := time.Now().Add(time.Minute); netlab.ReachHere("tcp", ep.Address.String()+":80") != nil && time.Now().Before(limit); {
			time.Sleep(10 * time.Millisecond)
		}
		face{task: tk.task, ep: ep}.meets()
	}
	order := []func(){tk.end, func() { x.l.mesos.remove(tk.container) }, func() { x.end(ep.ID) }}
	x.rnd.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	for _, f := range order {
		f()
	}
	x.gen++
}

// container gives the executor a container that is not attached yet.
func (x *executor) container(id string) *task {
	tk := &task{Namespace: netlab.New(x.t), l: x.l, executor: x.name, container: id}
	x.l.mesos.add(id, x.name)
	return tk
}
