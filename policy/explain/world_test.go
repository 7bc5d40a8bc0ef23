package explain_test

import (
	"testing"

	"github.com/taskwall/taskwall/policy"
	"github.com/taskwall/taskwall/policy/explain"
)

// Endpoints are found by their app, wherever they went since they were put.
func TestOfAppFollowsEndpoints(t *testing.T) {
	of := func(id, app string) policy.Endpoint {
		return policy.Endpoint{ID: id, Labels: map[string]string{"taskwall/app": app}}
	}
	w, err := explain.New(nil, []policy.Endpoint{of("f/2", "/a"), of("f/1", "/a")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	expect := func(app string, want ...string) {
		t.Helper()
		got := w.OfApp(app)
		if len(got) != len(want) {
			t.Fatalf("%s has %v, want %v", app, got, want)
		}
		for i := range want {
			if got[i].ID != want[i] {
				t.Errorf("%s has %v, want %v", app, got, want)
			}
		}
	}
	expect("/a", "f/1", "f/2")
	w.Put(of("f/1", "/b")) // it has another app now
	w.Put(of("f/0", "/a"))
	expect("/a", "f/0", "f/2")
	expect("/b", "f/1")
	w.Remove("f/2")
	w.Remove("f/2")
	expect("/a", "f/0")
	if _, known := w.Endpoint("f/2"); known || len(w.Endpoints()) != 2 {
		t.Errorf("f/2 is still among %v", w.Endpoints())
	}
}
