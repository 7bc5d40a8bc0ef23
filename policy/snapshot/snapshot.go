// Package snapshot reads and writes a list of a cluster's endpoints, so that
// policies can be tried on them without the cluster.
//
//   - id: f1/web.1            # an endpoint, at least by id
//     app: /shop/web          # becomes taskwall/app and taskwall/group
//     environment: production # becomes the namespace and the label taskwall.environment
//     host: h1                # becomes taskwall/host
//     ip: 10.64.0.5
//     labels: {tier: front}
//     ports: {http: 8080/tcp, dns: 53/udp}
package snapshot

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/policy"
	"github.com/taskwall/taskwall/policy/strict"
)

// Endpoint is one entry of the file.
type Endpoint struct {
	ID          string            `json:"id"`
	App         string            `json:"app,omitempty"`
	Environment string            `json:"environment,omitempty"`
	Host        string            `json:"host,omitempty"`
	IP          string            `json:"ip,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	Ports       map[string]string `json:"ports,omitempty"` // name to number/protocol
}

// environmentLabel is the label that an endpoint's environment stands for.
var environmentLabel = events.DefaultSettings().EnvironmentLabel

// Load reads the endpoints of a file. A failure is strict.Problems unless the
// file cannot be read at all.
func Load(name string) ([]Endpoint, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("reading endpoints: %w", err)
	}
	return Read(filepath.Base(name), text)
}

// Read is Load of a file's text.
func Read(name string, text []byte) ([]Endpoint, error) {
	docs, problems := strict.Parse(text)
	var all []Endpoint
	for _, doc := range docs {
		var list []Endpoint
		wrong := doc.Decode(&list, nil)
		if len(wrong) == 0 {
			wrong = doc.Place(Check(list, nil))
		}
		problems = append(problems, wrong...)
		all = append(all, list...)
	}
	for i := range problems {
		problems[i].File = name
	}
	if err := problems.Err(); err != nil {
		return nil, err
	}
	return all, nil
}

// Check finds what is wrong with a list of endpoints, which stands at a path of
// its document.
func Check(list []Endpoint, at strict.Path) []strict.Issue {
	var issues []strict.Issue
	seen := map[string]bool{}
	for i := range list {
		issues = append(issues, list[i].check(at.Under(i), seen)...)
	}
	return issues
}

func (e *Endpoint) check(at strict.Path, seen map[string]bool) []strict.Issue {
	var issues []strict.Issue
	fail := func(message, instead string, field ...any) {
		issues = append(issues, strict.Issue{Path: at.Under(field...), Message: message, Instead: instead})
	}
	switch {
	case e.ID == "":
		fail("no id", "write one that no other endpoint has", "id")
	case seen[e.ID]:
		fail("another endpoint has this id", "write another", "id")
	}
	seen[e.ID] = true
	if a, err := netip.ParseAddr(e.IP); e.IP != "" && (err != nil || !a.Is4()) {
		fail(fmt.Sprintf("%q is no address", e.IP), "write an IPv4 address, or remove the field", "ip")
	}
	for _, name := range events.SortedKeys(e.Ports) {
		if _, err := parsePort(name, e.Ports[name]); err != nil {
			fail(err.Error(), "write a number and a protocol, such as 8080/tcp", "ports", name)
		}
	}
	return issues
}

var errPort = errors.New("not a port")

func parsePort(name, text string) (events.Port, error) {
	number, protocol, found := strings.Cut(text, "/")
	n, err := strconv.ParseUint(number, 10, 16)
	if !found || err != nil || n == 0 || !slices.Contains([]string{"tcp", "udp", "sctp"}, protocol) {
		return events.Port{}, fmt.Errorf("%q: %w", text, errPort)
	}
	return events.Port{Name: name, Number: int(n), Protocol: protocol}, nil
}

// Policy is the endpoint as policies see it. It must be one that Load returned.
func (e *Endpoint) Policy() policy.Endpoint {
	p := policy.Endpoint{ID: e.ID, Environment: e.Environment, Labels: make(map[string]string, len(e.Labels)+4)}
	p.Address, _ = netip.ParseAddr(e.IP)
	if e.Environment != "" {
		p.Labels[environmentLabel] = e.Environment
	}
	if e.App != "" {
		p.Labels["taskwall/app"] = e.App
		if strings.HasPrefix(e.App, "/") {
			p.Labels["taskwall/group"] = path.Dir(e.App)
		}
	}
	if e.Host != "" {
		p.Labels["taskwall/host"] = e.Host
	}
	for k, v := range e.Labels { // last: a snapshot of a cluster has all facts in full
		p.Labels[k] = v
	}
	for _, name := range events.SortedKeys(e.Ports) {
		if port, err := parsePort(name, e.Ports[name]); err == nil {
			p.Ports = append(p.Ports, port)
		}
	}
	return p
}

// Of is the entry for an endpoint of a cluster.
func Of(p policy.Endpoint) Endpoint {
	e := Endpoint{ID: p.ID, Environment: p.Environment, App: p.Labels["taskwall/app"], Host: p.Labels["taskwall/host"], Labels: map[string]string{}}
	if p.Address.IsValid() {
		e.IP = p.Address.String()
	}
	for k, v := range p.Labels {
		switch {
		case k == "taskwall/app", k == "taskwall/host":
		case k == "taskwall/group" && strings.HasPrefix(e.App, "/") && v == path.Dir(e.App):
		case k == environmentLabel && v == e.Environment:
		default:
			e.Labels[k] = v
		}
	}
	for _, port := range p.Ports {
		if port.Name != "" {
			if e.Ports == nil {
				e.Ports = map[string]string{}
			}
			e.Ports[port.Name] = fmt.Sprintf("%d/%s", port.Number, port.Protocol)
		}
	}
	return e
}

// Policies are the endpoints as policies see them.
func Policies(list []Endpoint) []policy.Endpoint {
	all := make([]policy.Endpoint, len(list))
	for i := range list {
		all[i] = list[i].Policy()
	}
	return all
}

// Write writes the endpoints as YAML that Load reads.
func Write(w io.Writer, list []Endpoint) error {
	text, err := yaml.MarshalWithOptions(list, yaml.UseJSONMarshaler())
	if err == nil {
		_, err = w.Write(text)
	}
	if err != nil {
		return fmt.Errorf("writing endpoints: %w", err)
	}
	return nil
}
