package bus_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/taskwall/taskwall/events/bus"
	"github.com/taskwall/taskwall/events/bus/bustest"
)

// site is a server with users, and their seeds.
type site struct {
	*bus.Server
	users *bus.Users
	seeds map[string][]byte
}

func newSite(t *testing.T, hosts ...string) *site {
	t.Helper()
	s := &site{users: &bus.Users{Agents: map[string]string{}}, seeds: map[string][]byte{}}
	s.users.Controller = s.key(t, "controller")
	s.users.Auditor = s.key(t, "auditor")
	s.users.Operators = map[string]string{"ann": s.key(t, "ann"), "ben": s.key(t, "ben")}
	s.users.Viewers = map[string]string{"dashboard": s.key(t, "dashboard")}
	for _, h := range hosts {
		s.users.Agents[h] = s.key(t, h)
	}
	s.Server = bustest.Server(t, func(o *bus.ServerOptions) { o.Users = s.users })
	if err := bus.EnsureStreams(bustest.Context(t), s.connect(t, "controller").JS, bus.Retention{}, 1); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *site) key(t *testing.T, who string) string {
	t.Helper()
	seed, public, err := bus.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	s.seeds[who] = seed
	return public
}

func (s *site) connect(t *testing.T, who string) *bus.Conn {
	t.Helper()
	return bustest.Connect(t, s.Server, func(o *bus.Options) {
		o.NKeySeed = s.seeds[who]
		if _, agent := s.users.Agents[who]; agent {
			o.Host = who
		}
		o.Auditor = who == "auditor"
	})
}

// request sends one and tells what came of it.
func request(t *testing.T, c *bus.Conn, subject, body string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(bustest.Context(t), 2*time.Second)
	defer cancel()
	msg, err := c.Request(ctx, &nats.Msg{Subject: subject, Data: []byte(body)})
	if err != nil {
		return "", err
	}
	return string(msg.Data), nil
}

func TestAgentReachesItsOwnSubjectsOnly(t *testing.T) {
	s := newSite(t, "node.1", "node.2")
	agent, controller := s.connect(t, "node.1"), s.connect(t, "controller")

	if body, err := request(t, agent, bus.ReportsSubject("node.1"), "hello"); err != nil || !strings.Contains(body, `"stream":"REPORTS"`) {
		t.Errorf("its own report: %q, %v", body, err)
	}
	sub, err := agent.NATS.SubscribeSync(bus.LiveSubject("node.1"))
	if err != nil {
		t.Fatal(err)
	}
	if err := agent.NATS.Flush(); err != nil {
		t.Fatal(err)
	}
	if _, err := controller.JS.Publish(bustest.Context(t), bus.WorkSubject("node.1"), []byte("item")); err != nil {
		t.Fatal(err)
	}
	msg, err := sub.NextMsg(5 * time.Second)
	if err != nil || msg.Header.Get("Nats-Sequence") != "1" || msg.Header.Get("Nats-Subject") != bus.WorkSubject("node.1") {
		t.Errorf("its own work item: %v, %v", msg, err)
	}

	for _, subject := range []string{
		bus.ReportsSubject("node.2"), bus.CatchupSubject("node.2"), bus.AliveSubject("node.2"), bus.WorkSubject("node.1"), bus.WorkSubject("node.2"),
		bus.LiveSubject("node.2"), bus.LiveSubject("node.1"), bus.EventsSubject, bus.CheckpointsSubject, bus.FenceSubject,
		"$JS.API.INFO", "$JS.API.STREAM.LIST", "$JS.API.STREAM.DELETE.EVENTS", "$JS.API.CONSUMER.CREATE.WORK",
		"$JS.API.DIRECT.GET.EVENTS", "$JS.API.STREAM.MSG.GET.WORK", "$SYS.REQ.SERVER.PING",
		bus.PolicyApplyRequest, bus.StatusRequest,
	} {
		start := time.Now()
		if body, err := request(t, agent, subject, "{}"); !errors.Is(err, bus.ErrDenied) {
			t.Errorf("publishing to %s: %q, %v", subject, body, err)
		}
		if d := time.Since(start); d > time.Second {
			t.Errorf("publishing to %s was refused only after %s", subject, d)
		}
	}
	for _, subject := range []string{
		bus.LiveSubject("node.2"), "taskwall.work.*", "taskwall.>", ">", "_INBOX.>", "_INBOX_node_2e2.>",
		bus.ReportsSubject("node.1"), bus.AliveSubject("node.2"), bus.AllAlive, bus.EventsSubject, "$JS.>",
	} {
		sub, err := agent.NATS.SubscribeSync(subject)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := sub.NextMsg(2 * time.Second); !errors.Is(err, nats.ErrPermissionViolation) {
			t.Errorf("subscribing to %s: %v", subject, err)
		}
	}
}

// A sign of life reaches all controllers, in the name of the host whose key it was
// published with and of no other; Tell knows when the server denies it.
func TestAgentSaysThatItLives(t *testing.T) {
	s := newSite(t, "node.1", "node.2")
	agent := s.connect(t, "node.1")
	var heard []*nats.Subscription
	for range 2 {
		controller := s.connect(t, "controller")
		sub, err := controller.NATS.SubscribeSync(bus.AllAlive)
		if err == nil {
			err = controller.NATS.Flush() // the server has it
		}
		if err != nil {
			t.Fatal(err)
		}
		heard = append(heard, sub)
	}
	if err := agent.Tell(bus.AliveSubject("node.2"), []byte("forged")); err != nil {
		t.Fatal(err)
	}
	if err := agent.Tell(bus.AliveSubject("node.1"), []byte("true")); err != nil {
		t.Fatal(err)
	}
	for _, sub := range heard {
		msg, err := sub.NextMsg(5 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if host, err := bus.HostOf(msg.Subject); err != nil || host != "node.1" || string(msg.Data) != "true" {
			t.Errorf("heard %s: %s, %v", msg.Subject, msg.Data, err)
		}
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		err := agent.Tell(bus.AliveSubject("node.2"), []byte("forged"))
		if errors.Is(err, bus.ErrDenied) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("a denied subject: %v", err)
		}
	}
	if err := agent.Tell(bus.AliveSubject("node.1"), nil); err != nil {
		t.Errorf("the other subject: %v", err)
	}
}

// The server answers to whatever reply subject it is given, with rights of its
// own. An agent must not be able to turn that into a record of the log, an
// item for another host or a request in the controller's name.
func TestAgentCannotAimTheServersAnswers(t *testing.T) {
	s := newSite(t, "node.1", "node.2")
	agent, controller, other := s.connect(t, "node.1"), s.connect(t, "controller"), s.connect(t, "node.2")
	heard, err := other.NATS.SubscribeSync(bus.LiveSubject("node.2"))
	if err != nil {
		t.Fatal(err)
	}
	if err := other.NATS.Flush(); err != nil {
		t.Fatal(err)
	}
	const times = 3
	for i := range times {
		for _, reply := range []string{
			bus.EventsSubject, bus.WorkSubject("node.2"), bus.LiveSubject("node.2"), bus.ReportsSubject("node.2"), bus.CheckpointsSubject,
			"$JS.API.STREAM.PURGE.SNAPSHOTS",
		} {
			if err := agent.NATS.PublishRequest(bus.ReportsSubject("node.1"), reply, fmt.Append(nil, i)); err != nil {
				t.Fatal(err)
			}
		}
	}
	// An acknowledged report comes after all of them.
	if _, err := request(t, agent, bus.ReportsSubject("node.1"), "last"); err != nil {
		t.Fatal(err)
	}
	ctx := bustest.Context(t)
	for stream, want := range map[string]uint64{
		bus.EventsStream: 0, bus.WorkStream: 0, bus.CheckpointsStream: 0, bus.ReportsStream: 6*times + 1,
	} {
		state, err := bus.StreamState(ctx, controller.JS, stream)
		if err != nil || state.Msgs != want {
			t.Errorf("stream %s holds %d messages, want %d (%v)", stream, state.Msgs, want, err)
		}
	}
	// What does reach another agent is a bare acknowledgement: it lacks the
	// headers by which a work item is known.
	if _, err := controller.JS.Publish(ctx, bus.WorkSubject("node.2"), []byte("true item")); err != nil {
		t.Fatal(err)
	}
	for {
		msg, err := heard.NextMsg(5 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if msg.Header.Get("Nats-Subject") == "" {
			continue
		}
		if string(msg.Data) != "true item" {
			t.Errorf("the other host heard %q", msg.Data)
		}
		break
	}
}

func TestAuditorReadsAndCannotWrite(t *testing.T) {
	s := newSite(t, "node.1")
	auditor, controller := s.connect(t, "auditor"), s.connect(t, "controller")
	ctx := bustest.Context(t)
	for i := 0; i < 2500; i += 500 { // synced once each: disks may be slow
		msgs := make([]*nats.Msg, 500)
		for j := range msgs {
			msgs[j] = &nats.Msg{Subject: bus.EventsSubject, Header: nats.Header{}, Data: fmt.Append(nil, i+j)}
		}
		if _, err := bus.PublishAtomic(ctx, controller.JS, msgs); err != nil {
			t.Fatal(err)
		}
	}
	if state, err := bus.StreamState(ctx, auditor.JS, bus.EventsStream); err != nil || state.LastSeq != 2500 {
		t.Errorf("the auditor sees %+v, %v", state, err)
	}
	n := 0
	for _, err := range bus.Fetch(ctx, auditor.JS, bus.EventsStream, "", 1, 2500) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n != 2500 {
		t.Errorf("the auditor read %d records of 2500", n)
	}
	short, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	for _, subject := range []string{bus.EventsSubject, bus.WorkSubject("node.1"), bus.ReportsSubject("node.1"), bus.FenceSubject, bus.PolicyApplyRequest,
		"$JS.API.STREAM.DELETE.SNAPSHOTS", "$JS.API.CONSUMER.CREATE.EVENTS",
		"taskwall.audit.STREAM.DELETE.SNAPSHOTS", "taskwall.audit.CONSUMER.CREATE.EVENTS", "taskwall.audit.STREAM.PURGE.SNAPSHOTS"} {
		if msg, err := auditor.NATS.RequestWithContext(short, subject, nil); err == nil && !strings.Contains(string(msg.Data), `"error"`) {
			t.Errorf("a request of the auditor to %s got %q", subject, msg.Data)
		}
	}
	if state, err := bus.StreamState(ctx, controller.JS, bus.EventsStream); err != nil || state.LastSeq != 2500 {
		t.Errorf("the log ends at %d, %v", state.LastSeq, err)
	}
	if _, err := controller.JS.Stream(ctx, bus.SnapshotsStream); err != nil {
		t.Error(err)
	}
}

// answering has the controller answer every request with its subject.
func (s *site) answering(t *testing.T) *bus.Conn {
	t.Helper()
	controller := s.connect(t, "controller")
	if _, err := controller.NATS.Subscribe("taskwall.api.>", func(m *nats.Msg) {
		if err := m.Respond([]byte(m.Subject)); err != nil {
			t.Error(err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if err := controller.NATS.Flush(); err != nil {
		t.Fatal(err)
	}
	return controller
}

func TestPeopleAskTheControllerAndNothingElse(t *testing.T) {
	s := newSite(t, "node.1")
	controller := s.answering(t)
	operator, viewer := s.connect(t, "ann"), s.connect(t, "dashboard")
	for _, subject := range []string{bus.StatusRequest, bus.PolicyGetRequest, bus.PolicyApplyRequest} {
		if body, err := request(t, operator, subject, ""); body != subject {
			t.Errorf("the operator's %s: %q, %v", subject, body, err)
		}
		body, err := request(t, viewer, subject, "")
		if changes := subject == bus.PolicyApplyRequest; changes && !errors.Is(err, bus.ErrDenied) || !changes && body != subject {
			t.Errorf("the viewer's %s: %q, %v", subject, body, err)
		}
	}
	for who, c := range map[string]*bus.Conn{"operator": operator, "viewer": viewer} {
		for _, subject := range []string{
			bus.EventsSubject, bus.WorkSubject("node.1"), bus.LiveSubject("node.1"), bus.ReportsSubject("node.1"), bus.CatchupSubject("node.1"),
			bus.CheckpointsSubject, bus.FenceSubject, bus.SnapshotSubject(1), bus.PositionSubject("controller"), "$KV.LEASES.controller",
			"$JS.API.INFO", "$JS.API.STREAM.DELETE.EVENTS", "$JS.API.DIRECT.GET.EVENTS", "taskwall.audit.STREAM.INFO.EVENTS", "$SYS.REQ.SERVER.PING",
		} {
			if body, err := request(t, c, subject, "{}"); !errors.Is(err, bus.ErrDenied) {
				t.Errorf("the %s publishing to %s: %q, %v", who, subject, body, err)
			}
		}
		for _, subject := range []string{
			"taskwall.api.>", bus.PolicyApplyRequest, "taskwall.>", ">", "_INBOX.>", "_INBOX_" + s.users.Operators["ben"] + ".>", bus.EventsSubject, "$JS.>",
		} {
			sub, err := c.NATS.SubscribeSync(subject)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := sub.NextMsg(2 * time.Second); !errors.Is(err, nats.ErrPermissionViolation) {
				t.Errorf("the %s subscribing to %s: %v", who, subject, err)
			}
		}
	}

	// The answer goes to whatever reply subject it is given, with the
	// controller's rights: it must not become a record of the log.
	for _, reply := range []string{bus.EventsSubject, bus.WorkSubject("node.1"), "$JS.API.STREAM.PURGE.SNAPSHOTS"} {
		if err := operator.NATS.PublishRequest(bus.StatusRequest, reply, nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := request(t, operator, bus.StatusRequest, ""); err != nil {
		t.Fatal(err)
	}
	for _, stream := range []string{bus.EventsStream, bus.WorkStream} {
		if state, err := bus.StreamState(bustest.Context(t), controller.JS, stream); err != nil || state.Msgs != 0 {
			t.Errorf("stream %s holds %d messages, %v", stream, state.Msgs, err)
		}
	}
}

// What nobody answers must be known at once, not by a timeout.
func TestPeopleLearnThatNobodyAnswers(t *testing.T) {
	s := newSite(t)
	if body, err := request(t, s.connect(t, "ann"), bus.StatusRequest, ""); !errors.Is(err, nats.ErrNoResponders) {
		t.Errorf("%q, %v", body, err)
	}
}

func TestReadersFindTheirWay(t *testing.T) {
	s := newSite(t, "node.1")
	for who, may := range map[string]bool{"controller": true, "auditor": true, "ann": false, "dashboard": false} {
		c, err := bus.ConnectReader(bustest.Context(t), bus.Options{Server: s.Server, NKeySeed: s.seeds[who]})
		if !may {
			if !errors.Is(err, bus.ErrDenied) {
				t.Errorf("%s: %v, want that it is denied", who, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", who, err)
			continue
		}
		if _, err := bus.StreamState(bustest.Context(t), c.JS, bus.EventsStream); err != nil {
			t.Errorf("%s: %v", who, err)
		}
		c.Close()
	}
}

func TestStrangersStayOut(t *testing.T) {
	s := newSite(t, "node.1")
	seed, _, err := bus.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	for name, o := range map[string]bus.Options{"no key": {}, "unknown key": {NKeySeed: seed}} {
		o.URLs = []string{s.URL()}
		ctx, cancel := context.WithTimeout(bustest.Context(t), 300*time.Millisecond)
		c, err := bus.Connect(ctx, o)
		cancel()
		if err == nil {
			c.Close()
			t.Errorf("%s: connected", name)
		} else if !strings.Contains(err.Error(), "Authorization Violation") {
			t.Errorf("%s: the error does not say why: %v", name, err)
		}
	}
}

func TestUsersComeAndGo(t *testing.T) {
	s := newSite(t, "node.1")
	first, controller := s.connect(t, "node.1"), s.connect(t, "controller")
	closed := make(chan struct{})
	first.NATS.SetDisconnectErrHandler(func(*nats.Conn, error) { close(closed) })

	users := *s.users
	users.Agents = map[string]string{"node.2": s.key(t, "node.2")}
	if err := s.SetUsers(&users); err != nil {
		t.Fatal(err)
	}
	s.users = &users
	select {
	case <-closed:
	case <-time.After(5 * time.Second):
		t.Error("the agent that was removed is still connected")
	}
	second := s.connect(t, "node.2")
	if _, err := request(t, second, bus.ReportsSubject("node.2"), "hello"); err != nil {
		t.Errorf("the agent that was added can't report: %v", err)
	}
	if _, err := controller.JS.Publish(bustest.Context(t), bus.EventsSubject, nil); err != nil {
		t.Errorf("the controller was cut off: %v", err)
	}
}

func TestUsersFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users.yaml")
	s := newSite(t, "node.1", "node.2")
	if err := s.users.Save(path); err != nil {
		t.Fatal(err)
	}
	got, err := bus.LoadUsers(path)
	if err != nil || got.Controller != s.users.Controller || len(got.Agents) != 2 || got.Agents["node.2"] != s.users.Agents["node.2"] {
		t.Errorf("read back %+v, %v", got, err)
	}
	if got.Operators["ben"] != s.users.Operators["ben"] || got.Viewers["dashboard"] != s.users.Viewers["dashboard"] {
		t.Errorf("people read back %+v", got)
	}
	bad := *s.users
	bad.Operators = map[string]string{"eve": bad.Agents["node.1"]}
	if err := bad.Validate(); err == nil || !strings.Contains(err.Error(), "operator eve") {
		t.Errorf("an operator with an agent's key: %v", err)
	}
	bad = *s.users
	bad.Auditor = bad.Controller
	if err := bad.Save(path); err == nil || !strings.Contains(err.Error(), "same key") {
		t.Errorf("a key for two users: %v", err)
	}
	bad.Auditor = string(s.seeds["auditor"])
	if err := bad.Validate(); err == nil {
		t.Error("a secret seed was taken for a public key")
	}
}
