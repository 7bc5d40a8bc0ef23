package placement

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"

	"github.com/taskwall/taskwall/events"
)

// asked is a call as the master got it.
type asked struct {
	call    scheduler.Call
	headers http.Header
}

// leading is a master that takes every framework, offers it one host, and ends a
// stream when it is told to.
type leading struct {
	calls chan asked
	end   chan struct{}
}

func (m *leading) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(r.Body)
	a := asked{headers: r.Header}
	if err != nil || a.call.Unmarshal(b) != nil || r.URL.Path != "/api/v1/scheduler" {
		http.Error(w, "no call", http.StatusBadRequest)
		return
	}
	m.calls <- a
	if a.call.Type != scheduler.Call_SUBSCRIBE {
		w.WriteHeader(http.StatusAccepted)
		return
	}
	w.Header().Set(streamID, "s-1")
	w.Header().Set("Content-Type", mediaType)
	o := offer("S1", 1, 1024)
	for _, e := range []*scheduler.Event{
		{Type: scheduler.Event_SUBSCRIBED, Subscribed: &scheduler.Event_Subscribed{FrameworkID: &mesos.FrameworkID{Value: "fw-1"}}},
		{Type: scheduler.Event_OFFERS, Offers: &scheduler.Event_Offers{Offers: []mesos.Offer{o}}},
	} {
		record, err := e.Marshal()
		if err != nil {
			panic(err)
		}
		fmt.Fprintf(w, "%d\n%s", len(record), record)
	}
	w.(http.Flusher).Flush()
	select {
	case <-m.end:
	case <-r.Context().Done():
	}
}

// What a real master insists on, or silently makes of less (CLUSTER-API 4): the
// simulated one does not.
func TestWhatAMasterIsAsked(t *testing.T) {
	m := &leading{calls: make(chan asked, 100), end: make(chan struct{})}
	srv := httptest.NewServer(m)
	defer srv.Close()
	p, err := New(Config{Masters: []string{srv.URL}, User: "placer", Password: "secret", Task: Task{Command: "run"},
		Known: func() []events.Framework { return nil }, RetryMin: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	defer func() {
		cancel()
		<-done
	}()
	next := func() asked {
		select {
		case a := <-m.calls:
			if user, password, _ := (&http.Request{Header: a.headers}).BasicAuth(); user != "placer" || password != "secret" {
				t.Errorf("%v is of %q", a.call.Type, user)
			}
			if a.headers.Get("Content-Type") != mediaType {
				t.Errorf("%v is in %q", a.call.Type, a.headers.Get("Content-Type"))
			}
			return a
		case <-time.After(time.Minute):
			t.Fatal("no call")
			return asked{}
		}
	}

	first := next()
	info := first.call.GetSubscribe().GetFrameworkInfo()
	if info == nil || first.call.FrameworkID != nil || info.ID != nil || first.headers.Get(streamID) != "" || first.headers.Get("Accept") != mediaType {
		t.Fatalf("it begins with %+v, %v", first.call, first.headers)
	}
	if info.User != "root" || info.GetPrincipal() != "placer" || !info.GetCheckpoint() || info.Role != nil || !slices.Equal(info.Roles, []string{"*"}) ||
		time.Duration(info.GetFailoverTimeout())*time.Second < 7*24*time.Hour {
		t.Errorf("the framework is %+v", info)
	}
	for _, c := range []mesos.FrameworkInfo_Capability_Type{ // without the last two no host of another region, or with GPUs, is offered
		mesos.FrameworkInfo_Capability_MULTI_ROLE, mesos.FrameworkInfo_Capability_PARTITION_AWARE, mesos.FrameworkInfo_Capability_TASK_KILLING_STATE,
		mesos.FrameworkInfo_Capability_RESERVATION_REFINEMENT, mesos.FrameworkInfo_Capability_REGION_AWARE, mesos.FrameworkInfo_Capability_GPU_RESOURCES,
	} {
		if !slices.ContainsFunc(info.Capabilities, func(has mesos.FrameworkInfo_Capability) bool { return has.Type == c }) {
			t.Errorf("it cannot do %v", c)
		}
	}
	for _, want := range []scheduler.Call_Type{scheduler.Call_RECONCILE, scheduler.Call_DECLINE} {
		if a := next(); a.call.Type != want || a.call.GetFrameworkID().GetValue() != "fw-1" || a.headers.Get(streamID) != "s-1" {
			t.Errorf("%v of %v on stream %q, want %v", a.call.Type, a.call.FrameworkID, a.headers.Get(streamID), want)
		}
	}

	m.end <- struct{}{}
	again := next()
	if info := again.call.GetSubscribe().GetFrameworkInfo(); again.call.GetFrameworkID().GetValue() != "fw-1" || info.GetID().GetValue() != "fw-1" || again.headers.Get(streamID) != "" {
		t.Errorf("it goes on with %+v", again.call)
	}
}
