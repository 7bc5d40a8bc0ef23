package mesos

import (
	"bytes"
	"context"
	"fmt"

	"net/http"
	"testing"
	"time"

	lib "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/master"

	"github.com/taskwall/taskwall/events"
)

// BenchmarkSocketToFold measures records from the socket to the folded picture:
// each operation is one status update of one of 10,000 tasks.
func BenchmarkSocketToFold(b *testing.B) {
	for _, enc := range []Encoding{Protobuf, JSON} {
		b.Run(string(enc), func(b *testing.B) {
			const tasks = 10_000
			begin := make(chan struct{})
			var updates [][]byte // made before, so that making them is not measured
			for i := range 2 * tasks {
				updates = append(updates, benchRecord(b, enc, benchUpdate(i, tasks)))
			}
			srv := serve(b, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", enc.mediaType())
				_, _ = w.Write(benchRecord(b, enc, benchSnapshot(tasks)))
				w.(http.Flusher).Flush()
				<-begin
				for i := range b.N {
					if _, err := w.Write(updates[i%len(updates)]); err != nil {
						return
					}
				}
				w.(http.Flusher).Flush()
				<-r.Context().Done()
			}))
			f := &fold{cluster: events.NewCluster(), want: tasks + 2, done: make(chan struct{})}
			start(b, Config{Masters: []string{srv}, Encoding: enc, Resync: time.Hour}, f, nil)
			<-f.done
			f.done, f.want = make(chan struct{}), b.N
			b.ReportAllocs()
			b.ResetTimer()
			close(begin)
			<-f.done
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

// fold is a Sink that folds, and says when it has had so many events.
type fold struct {
	cluster *events.Cluster
	want    int
	done    chan struct{}
}

func (f *fold) Append(_ context.Context, evs ...events.Event) error {
	for _, e := range evs {
		f.cluster.Apply(e)
	}
	if f.want -= len(evs); f.want == 0 {
		close(f.done)
	}
	return nil
}

func benchTask(i int) lib.Task {
	id := fmt.Sprintf("shop_web.instance-%08d-1111-2222-3333-444444444444._app.1", i)
	name, value := "taskwall", "production"
	return lib.Task{
		Name: "web.shop", TaskID: lib.TaskID{Value: id}, FrameworkID: lib.FrameworkID{Value: "fw"}, AgentID: lib.AgentID{Value: "a1"},
		State:     lib.TASK_STAGING.Enum(),
		Labels:    &lib.Labels{Labels: []lib.Label{{Key: "taskwall.environment", Value: &value}, {Key: "app", Value: &name}}},
		Container: &lib.ContainerInfo{Type: lib.ContainerInfo_MESOS.Enum(), NetworkInfos: []lib.NetworkInfo{{Name: &name}}},
		Resources: []lib.Resource{{Name: "cpus", Type: lib.SCALAR.Enum(), Scalar: &lib.Value_Scalar{Value: 0.1}}},
	}
}

func benchSnapshot(tasks int) *master.Event {
	state := &master.Response_GetState{
		GetTasks:      &master.Response_GetTasks{},
		GetFrameworks: &master.Response_GetFrameworks{Frameworks: []master.Response_GetFrameworks_Framework{{FrameworkInfo: lib.FrameworkInfo{Name: "m", ID: &lib.FrameworkID{Value: "fw"}}}}},
		GetAgents:     &master.Response_GetAgents{Agents: []master.Response_GetAgents_Agent{{AgentInfo: lib.AgentInfo{Hostname: "h1", ID: &lib.AgentID{Value: "a1"}}, Active: true}}},
	}
	for i := range tasks {
		state.GetTasks.Tasks = append(state.GetTasks.Tasks, benchTask(i))
	}
	return &master.Event{Type: master.Event_SUBSCRIBED, Subscribed: &master.Event_Subscribed{GetState: state}}
}

func benchUpdate(i, tasks int) *master.Event {
	states := []lib.TaskState{lib.TASK_STARTING, lib.TASK_RUNNING}
	s := states[i/tasks%2]
	at, name, addr := float64(1e9+i), "taskwall", "10.0.0.1"
	return &master.Event{Type: master.Event_TASK_UPDATED, TaskUpdated: &master.Event_TaskUpdated{
		FrameworkID: lib.FrameworkID{Value: "fw"}, State: &s,
		Status: lib.TaskStatus{TaskID: benchTask(i % tasks).TaskID, State: &s, Timestamp: &at, UUID: make([]byte, 16), ContainerStatus: &lib.ContainerStatus{
			ContainerID:  &lib.ContainerID{Value: "2539f0fb-6f4f-4548-83bd-eeb8bbf5d25b"},
			NetworkInfos: []lib.NetworkInfo{{Name: &name, IPAddresses: []lib.NetworkInfo_IPAddress{{IPAddress: &addr}}}},
		}},
	}}
}

func benchRecord(b *testing.B, enc Encoding, e *master.Event) []byte {
	var (
		body []byte
		err  error
	)
	if enc == JSON {
		body, err = e.MarshalJSON()
	} else {
		body, err = e.Marshal()
	}
	if err != nil {
		b.Fatal(err)
	}
	return append([]byte(fmt.Sprintf("%d\n", len(body))), body...)
}

// BenchmarkDecode measures the decoders alone, with mesos-go's protobuf decoder
// and its conversion beside ours.
func BenchmarkDecode(b *testing.B) {
	update := benchUpdate(1, 10)
	pb, js := benchRecord(b, Protobuf, update), benchRecord(b, JSON, update)
	strip := func(r []byte) []byte {
		body, err := NewRecordReader(bytes.NewReader(r), 1<<20).Next()
		if err != nil {
			b.Fatal(err)
		}
		return append([]byte(nil), body...)
	}
	pb, js = strip(pb), strip(js)
	for name, f := range map[string]func() error{
		"protobuf": func() error { _, err := decodeEvent(pb); return err },
		"json":     func() error { _, err := JSON.event(js); return err },
		"mesos-go": func() error {
			var e master.Event
			err := e.Unmarshal(pb)
			_ = fromEvent(&e)
			return err
		},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := f(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
