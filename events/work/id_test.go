package work

import "testing"

func TestNamesOfEndpoints(t *testing.T) {
	for id, named := range map[string]bool{
		EndpointID("fw/exec", "a", 0):                   false,
		EndpointID("fw/exec", "b", 1):                   false,
		EndpointAt("node-7.example", "fw/exec", "a", 0): true,
		EndpointAt("node-7.example", "fw/exec", "b", 1): true,
	} {
		if ExecutorOf(id) != "fw/exec" || NamesHost(id) != named {
			t.Errorf("%q is of %q, names a host: %t", id, ExecutorOf(id), NamesHost(id))
		}
	}
	if NamesHost("") || NamesHost("fw") {
		t.Error("what is no endpoint names a host")
	}
}
