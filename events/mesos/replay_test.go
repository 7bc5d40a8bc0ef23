package mesos

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/mesos/mesos-go/api/v1/lib/master"

	"github.com/taskwall/taskwall/events"
)

func callNamed(name string) master.Call_Type { return master.Call_Type(master.Call_Type_value[name]) }

// recorded folds a recorded stream, up to the moment when ok holds.
func recorded(t *testing.T, r *replay, ok func(*events.Cluster) bool) *log {
	l := newLog()
	start(t, Config{Masters: []string{serve(t, r)}, Encoding: r.enc, Linger: time.Hour}, l, nil)
	l.until(t, "the recording's end is folded", ok)
	return l
}

func encodings(t *testing.T, json, pb string) map[Encoding]*replay {
	return map[Encoding]*replay{
		JSON: {enc: JSON, stream: recording(t, json), answers: map[string][]byte{
			"GET_EXECUTORS": recording(t, "2-get/groups-GET_EXECUTORS.json.body")}},
		Protobuf: {enc: Protobuf, stream: recording(t, pb), answers: map[string][]byte{
			"GET_EXECUTORS": recording(t, "2-get/groups-GET_EXECUTORS.pb.body")}},
	}
}

// TestBothEncodingsOfARecordingFoldAlike replays what one real master said to
// two subscribers at once, one in each encoding.
func TestBothEncodingsOfARecordingFoldAlike(t *testing.T) {
	pictures := map[Encoding]*events.Cluster{}
	for enc, r := range encodings(t, "1-subscribe/json.body", "1-subscribe/pb.body") {
		l := recorded(t, r, func(c *events.Cluster) bool {
			return c.Tasks["0577f926-9936-4274-9ab1-80644fb7e12d-0002/stay.2"].State == "TASK_RUNNING"
		})
		pictures[enc] = l.folded()
	}
	if d := cmp.Diff(pictures[JSON], pictures[Protobuf]); d != "" {
		t.Errorf("JSON (-) and protobuf (+) differ:\n%s", d)
	}
}
