package containers

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
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
	c, err := New(Config{URL: s.URL + "/", User: "me", Password: "secret"})
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

// The tasks of two groups as a master listed them, one with a network of its own.
func TestNestedContainersOfTasks(t *testing.T) {
	body, err := os.ReadFile("testdata/tasks.json")
	if err != nil {
		t.Fatal(err)
	}
	cs, err := serve(t, 200, string(body)).Nested(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range cs {
		got = append(got, c.ID+" "+c.Endpoint())
	}
	slices.Sort(got)
	const pod, fw = "2211a7d4-a885-45e4-a8d1-709d619faa5e.", "0577f926-9936-4274-9ab1-80644fb7e12d-0001/"
	want := []string{
		pod + "095d470d-b4ad-4830-84cc-123869eeae87 " + fw + `grp2-exec\h1`,
		pod + "4338fb55-f13b-4f68-8c26-ba1edaeec522 " + fw + `grp2-exec\h2`,
		"41b48f5d-9ab9-4aeb-a33b-b3f77f1e4580.61fa5cec-3473-4040-aa6a-b749f38c14df " + fw + `grp-exec\g1`,
		"41b48f5d-9ab9-4aeb-a33b-b3f77f1e4580.9b2dafda-49b7-4474-a86f-1cee162f4fa9 " + fw + `grp-exec\g2`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for body, ok := range map[string]bool{`{"type":"GET_TASKS"}`: true, `{}`: false, `{"get_tasks":7}`: false, `{`: false} {
		if cs, err := serve(t, 200, body).Nested(t.Context()); len(cs) != 0 || (err == nil) != ok {
			t.Errorf("%s: %v, %v", body, cs, err)
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
	for _, u := range []string{"", "ftp://x", "http://", "http://:5051", "http://me:s3cret@h:5051"} {
		if _, err := New(Config{URL: u}); err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("address %q: %v", u, err)
		}
	}
}

// What is asked of the agent beside it stays between the two: it goes to no
// proxy of the environment, which the process may have for other reasons, and
// nowhere that an answer sends it to.
func TestTheAgentIsAskedDirectly(t *testing.T) {
	if os.Getenv("TEST_OF_PROXY") == "" { // the environment is read once in a process's life
		cmd := exec.Command(os.Args[0], "-test.run=^TestTheAgentIsAskedDirectly$", "-test.v")
		proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			t.Errorf("the proxy was asked for %s with %q", r.URL, r.Header.Get("Authorization"))
		}))
		defer proxy.Close()
		cmd.Env = append(os.Environ(), "TEST_OF_PROXY=1", "HTTP_PROXY="+proxy.URL, "http_proxy="+proxy.URL)
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "PASS: TestTheAgentIsAskedDirectly") {
			t.Errorf("%v: %s", err, out)
		}
		return
	}
	// net/http asks no proxy for loopback's sake; a name that is none does not resolve.
	c, err := New(Config{URL: "http://agent.invalid:5051", User: "me", Password: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.List(t.Context()); !errors.Is(err, ErrAgent) || strings.Contains(err.Error(), "secret") {
		t.Errorf("an agent that has no address: %v", err)
	}
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t.Errorf("followed to another server, with %q", r.Header.Get("Authorization"))
	}))
	defer elsewhere.Close()
	s := httptest.NewServer(http.RedirectHandler(elsewhere.URL+"/api/v1", http.StatusTemporaryRedirect))
	defer s.Close()
	if c, err = New(Config{URL: s.URL, User: "me", Password: "secret"}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.List(t.Context()); !errors.Is(err, ErrAgent) || !strings.Contains(err.Error(), "307") {
		t.Errorf("a redirect: %v", err)
	}
}

func TestAnAgentWithItsOwnCertificateAuthority(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Write([]byte(`{"type":"GET_CONTAINERS"}`))
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // of a handshake that is refused below
	s.StartTLS()
	defer s.Close()
	trusted, _ := New(Config{URL: s.URL, TLS: &tls.Config{RootCAs: s.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs}})
	if _, err := trusted.List(t.Context()); err != nil {
		t.Error(err)
	}
	stranger, _ := New(Config{URL: s.URL})
	if _, err := stranger.List(t.Context()); !errors.Is(err, ErrAgent) || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a certificate that nobody vouches for: %v", err)
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
	c, err := New(Config{URL: s.URL})
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
