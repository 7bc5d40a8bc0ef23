package mirror

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taskwall/taskwall/events"
)

// sink remembers what it was given, and fails while fail says so.
type sink struct {
	appends [][]events.Event
	fail    func(attempt int) error
	n       int
}

func (s *sink) Append(_ context.Context, evs ...events.Event) error {
	s.n++
	if s.fail != nil {
		if err := s.fail(s.n); err != nil {
			return err
		}
	}
	s.appends = append(s.appends, append([]events.Event(nil), evs...))
	return nil
}

func (s *sink) all() (evs []events.Event) {
	for _, a := range s.appends {
		evs = append(evs, a...)
	}
	return evs
}

func task(state string, since int) events.Task {
	return events.Task{Framework: "f", ID: "t", Executor: "t", Agent: "a", State: state, Since: time.Unix(int64(since), 0).UTC()}
}

func flush(t *testing.T, m *Mirror) {
	t.Helper()
	if err := m.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestOnlyDifferencesBecomeEvents(t *testing.T) {
	var s sink
	m := New(nil, Options{Source: "mesos", Sink: &s})
	for range 3 {
		m.PutTask(task("TASK_RUNNING", 1), time.Time{})
		m.PutHost(events.Host{Agent: "a", Name: "h"}, time.Time{})
		m.PutFramework(events.Framework{ID: "f"}, time.Time{})
		m.PutMarathon(events.Marathon{Framework: "f"}, time.Time{})
		m.PutApp(events.App{ID: "/a"}, time.Time{})
		m.PutDeployment(events.Deployment{ID: "d", State: "running"}, time.Time{})
	}
	for range 3 {
		m.PutDeployment(events.Deployment{ID: "d", State: "failed"}, time.Time{})
		m.TaskGone("f/t", "", time.Time{})
		m.HostGone("a", "", time.Time{})
		m.FrameworkGone("f", "", time.Time{})
		m.AppGone("/a", "", time.Time{})
	}
	flush(t, m)
	want := []events.Kind{
		events.TaskPut, events.HostPut, events.FrameworkPut, events.MarathonPut, events.AppPut, events.DeploymentPut,
		events.DeploymentPut, events.TaskGone, events.HostGone, events.FrameworkGone, events.AppGone,
	}
	var got []events.Kind
	for _, e := range s.all() {
		got = append(got, e.Kind)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestEveryFieldMakesADifference keeps the comparisons complete when a field
// is added to a type.
func TestEveryFieldMakesADifference(t *testing.T) {
	for _, tt := range []struct {
		zero any
		same func(a, b any) bool
	}{
		{events.Task{}, func(a, b any) bool { x, y := a.(events.Task), b.(events.Task); return sameTask(x, y) }},
		{events.Network{}, func(a, b any) bool { return sameNetwork(a.(events.Network), b.(events.Network)) }},
		{events.Host{}, func(a, b any) bool { return sameHost(a.(events.Host), b.(events.Host)) }},
		{events.Framework{}, func(a, b any) bool { return sameFramework(a.(events.Framework), b.(events.Framework)) }},
		{events.App{}, func(a, b any) bool { return sameApp(a.(events.App), b.(events.App)) }},
		{events.Deployment{}, func(a, b any) bool { return sameDeployment(a.(events.Deployment), b.(events.Deployment)) }},
	} {
		typ := reflect.TypeOf(tt.zero)
		for i := range typ.NumField() {
			changed := reflect.New(typ).Elem()
			setNonZero(t, changed.Field(i))
			if got, want := tt.same(tt.zero, changed.Interface()), typ.Field(i).Name == "Since"; got != want {
				t.Errorf("%v with another %s: same is %v", typ, typ.Field(i).Name, got)
			}
		}
	}
}

func setNonZero(t *testing.T, v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString("x")
	case reflect.Int:
		v.SetInt(1)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Map:
		v.Set(reflect.ValueOf(map[string]string{"k": "v"}))
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
	case reflect.Struct:
		v.Set(reflect.ValueOf(time.Unix(1, 0)))
	default:
		t.Fatalf("no other value for a %v", v.Type())
	}
}

func TestIdsOfHappenings(t *testing.T) {
	ids := func(known *events.Cluster, steps ...events.Task) (ids []string) {
		var s sink
		m := New(known, Options{Source: "mesos", Sink: &s})
		for _, st := range steps {
			m.PutTask(st, time.Time{})
		}
		flush(t, m)
		for _, e := range s.all() {
			ids = append(ids, e.ID)
		}
		return ids
	}
	a, b := task("TASK_RUNNING", 1), task("TASK_UNREACHABLE", 2)
	b2 := task("TASK_UNREACHABLE", 3)

	t.Run("two observers agree", func(t *testing.T) {
		one := ids(nil, a, b, a)
		if two := ids(nil, a, b, a); !reflect.DeepEqual(one, two) {
			t.Errorf("%v and %v", one, two)
		}
		known := events.NewCluster()
		known.Tasks[a.Key()] = a
		if late := ids(known, b); late[0] != one[1] {
			t.Errorf("who starts from the log calls the second step %s, not %s", late[0], one[1])
		}
	})
	t.Run("no step is taken for an earlier one", func(t *testing.T) {
		seen := map[string]int{}
		for i, id := range ids(nil, a, b, a, b2, a, b, a, b, a) {
			if first, had := seen[id]; had {
				t.Errorf("step %d has the id of step %d", i, first)
			}
			seen[id] = i
		}
	})
	t.Run("gone and back is three happenings", func(t *testing.T) {
		var s sink
		m := New(nil, Options{Source: "mesos", Sink: &s})
		for range 2 {
			m.PutTask(a, time.Time{})
			m.TaskGone(a.Key(), "", time.Time{})
		}
		flush(t, m)
		seen := map[string]bool{}
		for _, e := range s.all() {
			seen[e.ID] = true
		}
		if len(seen) != 4 {
			t.Errorf("%d ids for 4 happenings", len(seen))
		}
	})
	t.Run("why a thing is gone does not count", func(t *testing.T) {
		gone := func(reason string) string {
			var s sink
			m := New(nil, Options{Source: "mesos", Sink: &s})
			m.PutTask(a, time.Time{})
			m.TaskGone(a.Key(), reason, time.Time{})
			flush(t, m)
			return s.all()[1].ID
		}
		if x, y := gone("ended"), gone("completed"); x != y {
			t.Errorf("%s and %s", x, y)
		}
	})
}

func TestALevelReadBackFromTheLogHasTheSameId(t *testing.T) {
	healthy := true
	a := task("TASK_RUNNING", 1)
	a.Healthy, a.Labels = &healthy, map[string]string{"k": "<&>", "l": ""}
	a.Networks = []events.Network{{Name: "n", Addresses: []string{"10.0.0.1"}}}
	a.Since = time.Unix(1, 123456000).UTC()
	raw, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	var back events.Task
	if err := json.Unmarshal(raw, &back); err != nil {
		t.Fatal(err)
	}
	var s1, s2 steps
	now := time.Unix(100, 0)
	if x, y := s1.id(events.TaskPut, "k", a, nil, now), s2.id(events.TaskPut, "k", back, nil, now); x != y {
		t.Errorf("%s and %s", x, y)
	}
}

func TestFlushTriesUntilTheLogTakesEverythingInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := errors.New("no responders")
		s := sink{fail: func(attempt int) error {
			if attempt%3 != 0 {
				return down
			}
			return nil
		}}
		retries := 0
		m := New(nil, Options{Source: "mesos", Sink: &s, OnRetry: func(err error) {
			retries++
			if !errors.Is(err, down) {
				t.Errorf("told of %v", err)
			}
		}})
		const n = 1000
		for i := range n {
			m.PutApp(events.App{ID: strconv.Itoa(i)}, time.Time{})
		}
		flush(t, m)
		for i, e := range s.all() {
			if e.App.ID != strconv.Itoa(i) {
				t.Fatalf("event %d is about %s", i, e.App.ID)
			}
		}
		if len(s.all()) != n || m.Appended() != n || len(m.pending) != 0 {
			t.Errorf("%d in the log, %d counted, %d pending", len(s.all()), m.Appended(), len(m.pending))
		}
		if retries == 0 {
			t.Error("nobody was told of the failures")
		}
		for _, a := range s.appends {
			if len(a) > batch {
				t.Errorf("an append of %d events", len(a))
			}
		}
	})
}

func TestFlushEndsWithItsContextAndKeepsWhatIsNotDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stopped := errors.New("stopped")
		s := sink{fail: func(int) error { return errors.New("down") }}
		m := New(nil, Options{Source: "mesos", Sink: &s})
		m.PutApp(events.App{ID: "/a"}, time.Time{})
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Minute, func() { cancel(stopped) })
		if err := m.Flush(ctx); !errors.Is(err, stopped) {
			t.Errorf("got %v", err)
		}
		if len(m.pending) != 1 {
			t.Errorf("%d pending", len(m.pending))
		}
	})
}

func TestAnEventSaysWhenByBothClocks(t *testing.T) {
	var s sink
	now := time.Date(2026, 1, 2, 3, 4, 5, 6, time.FixedZone("x", 3600))
	m := New(nil, Options{Source: "mesos", Sink: &s, Now: func() time.Time { return now }})
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	m.PutTask(task("TASK_RUNNING", 1), at)
	m.TaskGone("f/t", "ended", time.Time{})
	flush(t, m)
	put, gone := s.all()[0], s.all()[1]
	if !put.Time.Equal(at) || !put.Received.Equal(now) || put.Received.Location() != time.UTC {
		t.Errorf("put: time %v, received %v", put.Time, put.Received)
	}
	if !gone.Time.Equal(gone.Received) || gone.Gone.Reason != "ended" || gone.Source != "mesos" || gone.Schema != events.Schema {
		t.Errorf("gone: %+v", gone)
	}
}

// TestTheLargestTaskFitsIntoTheLog: 1 MiB is what JetStream takes by default.
func TestTheLargestTaskFitsIntoTheLog(t *testing.T) {
	var l Limits
	bad := strings.Repeat("<", 100_000) // six bytes each in JSON
	labels := func() map[string]string {
		var list []Label
		for i := range 1000 {
			list = append(list, Label{Key: strconv.Itoa(i), Value: bad[:i*8]})
		}
		return l.Labels(list)
	}
	big := events.Task{
		Framework: bad[:MaxText], ID: bad[:MaxText], Executor: bad[:MaxText], Agent: bad[:MaxText],
		Name: l.Text(bad), Message: l.Text(bad), Labels: labels(), ExecutorLabels: labels(),
	}
	for range MaxNetworks {
		big.Networks = append(big.Networks, events.Network{Name: l.Name(bad), Labels: labels()})
	}
	for range MaxPorts {
		big.Ports = append(big.Ports, events.Port{Name: l.Name(bad), Number: 65535, Protocol: "tcp"})
	}
	b, err := json.Marshal(events.Event{Task: &big})
	if err != nil || len(b) > 1_000_000 {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	if l.Dropped()["labels"] == 0 {
		t.Error("nothing was counted as dropped")
	}
}

func TestLabelsAreKeptWholeOrNotAtAll(t *testing.T) {
	for name, tt := range map[string]struct {
		in      []Label
		want    map[string]string
		dropped uint64
	}{
		"none":              {nil, nil, 0},
		"without a value":   {[]Label{{"a", ""}}, map[string]string{"a": ""}, 0},
		"the first counts":  {[]Label{{"a", "1"}, {"a", "2"}}, map[string]string{"a": "1"}, 1},
		"no key":            {[]Label{{"", "1"}}, nil, 1},
		"not UTF-8":         {[]Label{{"a\xff", "\xfe"}}, map[string]string{"a\uFFFD": "\uFFFD"}, 0},
		"too large a value": {[]Label{{"a", strings.Repeat("x", maxValue+1)}, {"b", "2"}}, map[string]string{"b": "2"}, 1},
		"too large a key":   {[]Label{{strings.Repeat("x", MaxText+1), "1"}, {"b", "2"}}, map[string]string{"b": "2"}, 1},
		"our own prefix":    {[]Label{{"taskwall/app", "/x"}}, map[string]string{"taskwall/app": "/x"}, 0},
	} {
		var l Limits
		if got := l.Labels(tt.in); !reflect.DeepEqual(got, tt.want) || l.Dropped()["labels"] != tt.dropped {
			t.Errorf("%s: %v, %v dropped", name, got, l.Dropped())
		}
	}
}

func BenchmarkPutTask(b *testing.B) {
	m := New(nil, Options{Source: "mesos", Sink: &sink{}})
	t := task("TASK_RUNNING", 1)
	t.Labels = map[string]string{"app": "web", "tier": "front", "taskwall.environment": "production"}
	t.Networks = []events.Network{{Name: "taskwall", Addresses: []string{"10.0.0.1"}}}
	states := []string{"TASK_STARTING", "TASK_RUNNING"}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		t.State = states[i%2]
		t.Since = time.Unix(int64(i), 0)
		m.PutTask(t, t.Since)
		m.pending = m.pending[:0]
	}
}
