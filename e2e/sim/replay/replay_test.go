package replay_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/mesos/mesos-go/api/v1/lib/httpcli"
	"github.com/mesos/mesos-go/api/v1/lib/httpcli/httpmaster"
	"github.com/mesos/mesos-go/api/v1/lib/master"
	"github.com/mesos/mesos-go/api/v1/lib/master/calls"

	"github.com/taskwall/taskwall/e2e/sim/replay"
)

const dir = "../testdata/recorded/"

func TestRecordingIsServedByteForByte(t *testing.T) {
	r, err := replay.Load(dir+"subscribe.json.headers", dir+"subscribe.json.body")
	if err != nil {
		t.Fatal(err)
	}
	for _, piece := range []int{0, 7, 4096} {
		r.Piece = piece
		srv := httptest.NewServer(r)
		resp, err := http.Post(srv.URL, "application/json", bytes.NewReader(nil))
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		srv.Close()
		want, _ := os.ReadFile(dir + "subscribe.json.body")
		if err != nil || !bytes.Equal(b, want) || resp.Header.Get("Date") != "Mon, 23 Nov 2026 01:00:00 GMT" {
			t.Errorf("in pieces of %d: %d bytes of %d, %v, %v", piece, len(b), len(want), err, resp.Header)
		}
	}
}

// The real client library reads the recorded protobuf stream to its end.
func TestMesosGoReadsTheRecording(t *testing.T) {
	r, err := replay.Load(dir+"subscribe.pb.headers", dir+"subscribe.pb.body")
	if err != nil {
		t.Fatal(err)
	}
	r.Piece = 11
	srv := httptest.NewServer(r)
	defer srv.Close()
	sender := httpmaster.NewSender(httpcli.New(httpcli.Endpoint(srv.URL)).Send)
	resp, err := sender.Send(context.Background(), calls.NonStreaming(calls.Subscribe()))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Close()
	seen := map[master.Event_Type]int{}
	for {
		var e master.Event
		if err := resp.Decode(&e); err != nil {
			if !errors.Is(err, io.EOF) {
				t.Error(err)
			}
			break
		}
		seen[e.Type]++
	}
	if seen[master.Event_TASK_ADDED] < 10 || seen[master.Event_SUBSCRIBED] != 1 {
		t.Errorf("saw %v", seen)
	}
}

func TestBrokenRecordingsAreRefused(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "headers")
	if err := os.WriteFile(bad, []byte("# nothing\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := replay.Load(bad, bad); err == nil {
		t.Error("a recording without a status line was loaded")
	}
	if _, err := replay.Load(bad+".none", bad); err == nil {
		t.Error("a recording without headers was loaded")
	}
}
