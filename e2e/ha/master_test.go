package ha

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	lib "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/master"
)

// stormMaster is a Mesos master that does nothing but list agents and tasks and
// stream their changes, as fast as it is told: a simulated cluster that really
// launches tasks would compete for the processors with what is measured.
type stormMaster struct {
	url   string
	hosts int
	apps  int
	bulk  int // tasks that are there from the beginning

	storm chan struct{} // closed when the changes begin
	done  chan stormed
}

// stormed is what a storm was.
type stormed struct {
	sent    int
	late    time.Duration // the worst delay of a change behind its time: the controller did not read on
	over    time.Time
	running int // tasks that run after it
}

const network = "taskwall"

func newStormMaster(t testing.TB, hosts, apps, bulk, rate int, length time.Duration) *stormMaster {
	m := &stormMaster{hosts: hosts, apps: apps, bulk: bulk, storm: make(chan struct{}), done: make(chan stormed, 1)}
	var once sync.Once
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var call master.Call
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = call.Unmarshal(body)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
		switch call.Type {
		case master.Call_SUBSCRIBE:
			m.stream(w, r, &once, rate, length)
		case master.Call_GET_AGENTS:
			answer := master.Response{Type: master.Response_GET_AGENTS, GetAgents: m.agents()}
			text, err := answer.Marshal()
			if err == nil {
				_, err = w.Write(text)
			}
			if err != nil {
				t.Error(err)
			}
		default:
			http.Error(w, "not here", http.StatusNotImplemented)
		}
	}))
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	m.url = server.URL
	return m
}

func (m *stormMaster) agents() *master.Response_GetAgents {
	all := &master.Response_GetAgents{}
	for i := range m.hosts {
		all.Agents = append(all.Agents, master.Response_GetAgents_Agent{Active: true,
			AgentInfo: lib.AgentInfo{Hostname: hostName(i), ID: &lib.AgentID{Value: fmt.Sprint("agent-", i)}}})
	}
	return all
}

func hostName(i int) string { return fmt.Sprintf("node-%04d", i) }

// task is the i-th that is ever launched.
func (m *stormMaster) task(i int) lib.Task {
	app := fmt.Sprintf("app-%d", i%m.apps)
	name := network
	return lib.Task{
		Name: app, TaskID: lib.TaskID{Value: fmt.Sprintf("%s.instance-%08d-1111-2222-3333-444444444444._app.1", app, i)},
		FrameworkID: lib.FrameworkID{Value: "fw"}, AgentID: lib.AgentID{Value: fmt.Sprint("agent-", i%m.hosts)},
		State:     lib.TASK_STAGING.Enum(),
		Labels:    &lib.Labels{Labels: []lib.Label{{Key: "app", Value: &app}}},
		Container: &lib.ContainerInfo{Type: lib.ContainerInfo_MESOS.Enum(), NetworkInfos: []lib.NetworkInfo{{Name: &name}}},
	}
}

func (m *stormMaster) update(i int, state lib.TaskState) *master.Event {
	at := float64(time.Now().UnixNano()) / 1e9
	return &master.Event{Type: master.Event_TASK_UPDATED, TaskUpdated: &master.Event_TaskUpdated{
		FrameworkID: lib.FrameworkID{Value: "fw"}, State: &state,
		Status: lib.TaskStatus{TaskID: m.task(i).TaskID, State: &state, Timestamp: &at, UUID: fmt.Appendf(nil, "%016d", i)},
	}}
}

// stream sends the whole state, and when it is time the storm: tasks that are
// launched, run, and end when so many run.
func (m *stormMaster) stream(w http.ResponseWriter, r *http.Request, once *sync.Once, rate int, length time.Duration) {
	state := &master.Response_GetState{
		GetTasks: &master.Response_GetTasks{}, GetAgents: m.agents(),
		GetFrameworks: &master.Response_GetFrameworks{Frameworks: []master.Response_GetFrameworks_Framework{{Active: true, Connected: true,
			FrameworkInfo: lib.FrameworkInfo{Name: "m", ID: &lib.FrameworkID{Value: "fw"}}}}},
	}
	for i := range m.bulk {
		t := m.task(i)
		t.State = lib.TASK_RUNNING.Enum()
		state.GetTasks.Tasks = append(state.GetTasks.Tasks, t)
	}
	interval := 60.0 // seconds
	if send(w, &master.Event{Type: master.Event_SUBSCRIBED, Subscribed: &master.Event_Subscribed{GetState: state, HeartbeatIntervalSeconds: &interval}}) != nil {
		return
	}
	w.(http.Flusher).Flush()
	beat := time.NewTicker(5 * time.Second)
	defer beat.Stop()
	for calm := true; calm; {
		select {
		case <-m.storm:
			calm = false
		case <-beat.C:
			if send(w, &master.Event{Type: master.Event_HEARTBEAT}) != nil {
				return
			}
			w.(http.Flusher).Flush()
		case <-r.Context().Done():
			return
		}
	}
	once.Do(func() {
		var result stormed
		begin := time.Now()
		total := int(float64(rate) * length.Seconds())
		for n := range total {
			due := begin.Add(time.Duration(n) * time.Second / time.Duration(rate))
			if wait := time.Until(due); wait > 0 {
				w.(http.Flusher).Flush()
				time.Sleep(wait)
			}
			result.late = max(result.late, time.Since(due))
			// Four changes are one task that comes and one, older, that goes.
			i := m.bulk + n/4
			var event *master.Event
			switch n % 4 {
			case 0:
				event = &master.Event{Type: master.Event_TASK_ADDED, TaskAdded: &master.Event_TaskAdded{Task: m.task(i)}}
			case 1:
				event = m.update(i, lib.TASK_STARTING)
			case 2:
				event = m.update(i, lib.TASK_RUNNING)
			case 3:
				event = m.update(i-m.bulk, lib.TASK_FINISHED)
			}
			if send(w, event) != nil {
				return
			}
			result.sent++
		}
		w.(http.Flusher).Flush()
		result.over, result.running = time.Now(), m.bulk // as many went as came
		m.done <- result
	})
	<-r.Context().Done()
}

func send(w io.Writer, e *master.Event) error {
	body, err := e.Marshal()
	if err != nil {
		return err
	}
	_, err = w.Write(append(fmt.Appendf(nil, "%d\n", len(body)), body...))
	return err
}
