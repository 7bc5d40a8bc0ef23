package story

import "fmt"

// App is one app of the story.
type App struct {
	ID     string
	Labels map[string]string
	TCP    []int // ports that it listens on
	UDP    []int
}

// Apps are deployed in this order.
var Apps = []App{
	{ID: "/shop/orders-db", TCP: []int{5432}, Labels: map[string]string{
		"taskwall.environment": "production", "data": "orders"}},
	{ID: "/shop/payments", TCP: []int{8443}, UDP: []int{8125}, Labels: map[string]string{
		"taskwall.environment": "production", "tier": "payments", "taskwall.uses": "orders-db,ledger"}},
	{ID: "/shop/web", TCP: []int{8080}, Labels: map[string]string{
		"taskwall.environment": "production", "tier": "front"}},
	{ID: "/batch/report", TCP: []int{9000}, Labels: map[string]string{
		"taskwall.environment": "staging"}},
	{ID: "/intruder", TCP: []int{6666}},
}

// Machine is one outside the cluster: it runs nothing of ours.
type Machine struct {
	Name    string
	Address string
	TCP     []int
}

// machines are those outside the cluster.
var machines = []Machine{
	{Name: "ledger", Address: "192.168.60.10", TCP: []int{1521}},
	{Name: "office", Address: "192.168.60.130"},
}

// Flow is one source, destination and port.
type Flow struct {
	From, To string // an app's id or a machine's name
	Protocol string // "tcp" or "udp"
	Port     int
}

func (f Flow) String() string {
	return fmt.Sprintf("%s → %s:%d/%s", f.From, f.To, f.Port, f.Protocol)
}

// allowed are the flows that the story's policies permit; all else is denied.
var allowed = map[Flow]bool{
	{"office", "/shop/web", "tcp", 8080}:               true,
	{"/shop/web", "/shop/payments", "tcp", 8443}:       true,
	{"/shop/web", "/shop/payments", "udp", 8125}:       true,
	{"/shop/payments", "/shop/orders-db", "tcp", 5432}: true,
	{"/shop/payments", "ledger", "tcp", 1521}:          true,
}

// Change is what the second set of policies makes different: permissions
// given, and permissions taken back.
var Change = map[Flow]bool{
	{"/batch/report", "/shop/orders-db", "tcp", 5432}: true,
	{"/shop/web", "/shop/payments", "udp", 8125}:      false,
}

// allFlows are all pairs of the story with all ports that the destination listens
// on, in a stable order.
func allFlows() []Flow {
	var flows []Flow
	add := func(from, to string, tcp, udp []int) {
		if from == to {
			return
		}
		for _, p := range tcp {
			flows = append(flows, Flow{from, to, "tcp", p})
		}
		for _, p := range udp {
			flows = append(flows, Flow{from, to, "udp", p})
		}
	}
	var names []string
	for _, a := range Apps {
		names = append(names, a.ID)
	}
	for _, m := range machines {
		names = append(names, m.Name)
	}
	for _, from := range names {
		for _, a := range Apps {
			add(from, a.ID, a.TCP, a.UDP)
		}
		if from == "ledger" || from == "office" {
			continue // between machines outside, nothing is ours to decide
		}
		for _, m := range machines {
			add(from, m.Name, m.TCP, nil)
		}
	}
	return flows
}
