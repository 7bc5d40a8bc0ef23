package sim_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

func (c *cniCluster) agentPost(call string) []byte {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), http.MethodPost, c.agent.AgentURL+"/api/v1", strings.NewReader(call))
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	return c.fetch(req)
}

func (c *cniCluster) fetch(req *http.Request) []byte {
	c.t.Helper()
	client := c.agent.NS.Client()
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return b
}

// TestAgentAPIEqualsRecording: GET_CONTAINERS with nested ones, and the older
// GET /containers, for two task groups.
func TestAgentAPIEqualsRecording(t *testing.T) {
	c := startCNI(t, "twsf")
	newScheduler(t, c.MasterURL(), fmt.Sprintf(subscribeCall, "0")).resp.Body.Close()
	c.accept("fw2", "g1")
	c.saw("g1", "TASK_RUNNING")
	c.saw("g2", "TASK_RUNNING")
	c.accept("fw2", "h1")
	c.saw("h1", "TASK_RUNNING")
	c.saw("h2", "TASK_RUNNING")
	for _, tt := range []struct {
		name, file string
		got        func() []byte
	}{
		{"nested", "agent-groups-nested.json", func() []byte {
			return c.agentPost(`{"type":"GET_CONTAINERS","get_containers":{"show_nested":true,"show_standalone":true}}`)
		}},
		{"legacy", "agent-legacy-containers.json", func() []byte {
			req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, c.agent.AgentURL+"/containers", nil)
			return c.fetch(req)
		}},
	} {
		want := strings.ReplaceAll(withoutStatistics(string(readFile(t, "testdata/recorded/"+tt.file))), "UUID-0001", "UUID-0000")
		if got := withoutStatistics(string(tt.got())); got != want {
			t.Errorf("%s\nrecorded  %s\nsimulated %s", tt.name, want, got)
		}
	}
}

func withoutStatistics(s string) string {
	for _, key := range []string{`,"resource_statistics":{`, `"statistics":{`} {
		for {
			i := strings.Index(s, key)
			if i < 0 {
				break
			}
			s = s[:i] + s[i+strings.Index(s[i:], "}")+1:]
		}
	}
	return normal([]byte(s))
}
