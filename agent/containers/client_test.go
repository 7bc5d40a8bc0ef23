package containers

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
)

func serve(t *testing.T, status int, body string) *Client {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if u, p, _ := r.BasicAuth(); r.URL.Path != "/api/v1" || r.Method != "POST" || u != "me" || p != "secret" {
			t.Errorf("asked %s %s as %s:%s", r.Method, r.URL, u, p)
		}
		w.WriteHeader(status)
		w.Write([]byte(body))
	}))
	t.Cleanup(s.Close)
	c, err := New(strings.Replace(s.URL, "http://", "http://me:secret@", 1) + "/")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// The answers recorded from a Mesos agent.
func TestRecordedAnswers(t *testing.T) {
	for file, want := range map[string][]string{
		"during-add.json": {"a5f120c7-21ee-4705-a0c1-69052ac0884c 0577f926-9936-4274-9ab1-80644fb7e12d-0002/slow.1"},
		"nested.json": {
			"2211a7d4-a885-45e4-a8d1-709d619faa5e 0577f926-9936-4274-9ab1-80644fb7e12d-0001/grp2-exec",
			"41b48f5d-9ab9-4aeb-a33b-b3f77f1e4580 0577f926-9936-4274-9ab1-80644fb7e12d-0001/grp-exec",
		},
	} {
		body, err := os.ReadFile("testdata/" + file)
		if err != nil {
			t.Fatal(err)
		}
		cs, err := serve(t, 200, string(body)).List(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, c := range cs {
			got = append(got, c.ID+" "+c.Endpoint())
			if c.PID == 0 {
				t.Errorf("%s: no pid for %s", file, c.ID)
			}
		}
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("%s: got\n%s\nwant\n%s", file, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

// An agent without containers leaves the list out.
func TestNoContainers(t *testing.T) {
	if cs, err := serve(t, 200, `{"type":"GET_CONTAINERS"}`).List(context.Background()); err != nil || len(cs) != 0 {
		t.Errorf("%v, %v", cs, err)
	}
}

func TestBadAnswers(t *testing.T) {
	for body, status := range map[string]int{"forbidden": 403, "{": 200, "{}": 200, `{"get_containers":7}`: 200} {
		if _, err := serve(t, status, body).List(context.Background()); !errors.Is(err, ErrAgent) {
			t.Errorf("%q: %v", body, err)
		}
	}
	for _, u := range []string{"", "10.0.0.1:5051", "ftp://x", "http://"} {
		if _, err := New(u); err == nil {
			t.Errorf("address %q was taken", u)
		}
	}
}

func FuzzDecode(f *testing.F) {
	b, err := os.ReadFile("testdata/nested.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		cs, err := decode(b)
		if err != nil {
			return
		}
		for _, c := range cs {
			if c.ID == "" || c.Framework == "" || c.Executor == "" {
				t.Errorf("incomplete %+v", c)
			}
		}
	})
}

// Attaches that come together share a look; a container is found as soon as
// the agent lists it; one that was found is not asked for again.
func TestFind(t *testing.T) {
	var mu sync.Mutex
	asked, listed := 0, 1
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		asked++
		var b strings.Builder
		for i := range listed {
			fmt.Fprintf(&b, `,{"container_id":{"value":"c%d"},"framework_id":{"value":"f"},"executor_id":{"value":"e%d"}}`, i, i)
		}
		fmt.Fprintf(w, `{"get_containers":{"containers":[%s]}}`, b.String()[1:])
	}))
	defer s.Close()
	c, err := New(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	if _, ok, err := c.Find(ctx, "c9"); ok || err != nil {
		t.Fatalf("an unknown container: %v, %v", ok, err)
	}
	mu.Lock()
	listed = 10
	mu.Unlock()
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			id := fmt.Sprint(i % 10)
			if found, ok, err := c.Find(ctx, "c"+id); !ok || err != nil || found.Executor != "e"+id {
				t.Errorf("%s: %+v, %v, %v", id, found, ok, err)
			}
		})
	}
	wg.Wait()
	mu.Lock()
	defer mu.Unlock()
	if asked > 4 {
		t.Errorf("100 attaches asked %d times", asked)
	}
}
