package connect

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// answering returns what asks servers of which each redirects to another, or
// answers 200 where it names none, and the hosts that were asked.
func answering(to map[string]string) (ask func(context.Context, *url.URL) (*http.Response, error), asked *[]string) {
	asked = new([]string)
	return func(_ context.Context, base *url.URL) (*http.Response, error) {
		*asked = append(*asked, base.Hostname())
		next, up := to[base.Hostname()]
		if !up {
			return nil, errors.New("connection refused")
		}
		resp := &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: http.NoBody, Request: &http.Request{URL: base}}
		if next != "" {
			resp.StatusCode = http.StatusTemporaryRedirect
			resp.Header.Set("Location", "http://"+next+":1/")
		}
		return resp, nil
	}, asked
}

func TestALeaderThatAnswersButGivesNothingIsAskedLast(t *testing.T) {
	c, err := NewClient(Config{Servers: []string{"a:1", "b:1", "c:1"}})
	if err != nil {
		t.Fatal(err)
	}
	find := func(to map[string]string, want, order string) {
		t.Helper()
		ask, asked := answering(to)
		resp, at, err := c.Find(t.Context(), ask)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if got := strings.Join(*asked, " "); at.Hostname() != want || got != order {
			t.Errorf("found %s by asking %s, want %s by %s", at, got, want, order)
		}
	}
	find(map[string]string{"a": "b", "b": ""}, "b", "a b")
	c.Served(true)
	find(map[string]string{"b": "", "c": ""}, "b", "b")
	c.Served(false)
	find(map[string]string{"b": "", "c": ""}, "c", "a c")
	c.Served(false)
	find(map[string]string{"b": "", "c": ""}, "b", "a b")
}

func TestWithoutALeaderEachMembersAnswerIsSaid(t *testing.T) {
	c, err := NewClient(Config{Servers: []string{"a:1", "c:1"}})
	if err != nil {
		t.Fatal(err)
	}
	ask, asked := answering(map[string]string{"a": "b", "b": "a"})
	_, _, err = c.Find(t.Context(), ask) //nolint:bodyclose // there is none
	if !errors.Is(err, ErrNoLeader) || !strings.Contains(err.Error(), "more than 4 redirects") || !strings.Contains(err.Error(), "refused") {
		t.Errorf("error %v", err)
	}
	if len(*asked) != maxHops+1 {
		t.Errorf("asked %v", *asked)
	}
}
