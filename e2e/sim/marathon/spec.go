package marathon

import (
	"encoding/json"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"
)

// object is a JSON object: specs keep members that the simulator knows
// nothing of.
type object = map[string]any

// runSpec is one version of an app or a pod.
type runSpec struct {
	id        string // absolute path
	pod       bool
	raw       object // normalised, without version and instances' bookkeeping
	app       appSpec
	podSpec   podSpec
	instances int
	version   time.Time
	scaledAt  time.Time
	config    time.Time // of the last change that restarts tasks
}

type network struct {
	Mode   string            `json:"mode"`
	Name   string            `json:"name"`
	Labels map[string]string `json:"labels"`
}

type portMapping struct {
	ContainerPort int               `json:"containerPort"`
	HostPort      *int              `json:"hostPort"`
	ServicePort   int               `json:"servicePort"`
	Protocol      string            `json:"protocol"`
	Name          string            `json:"name"`
	Labels        map[string]string `json:"labels"`
	NetworkNames  []string          `json:"networkNames"`
}

type portDefinition struct {
	Port     int               `json:"port"`
	Protocol string            `json:"protocol"`
	Name     string            `json:"name"`
	Labels   map[string]string `json:"labels"`
}

type healthCheck struct {
	Protocol               string                           `json:"protocol"`
	Path                   string                           `json:"path"`
	Port                   int                              `json:"port"`
	PortIndex              *int                             `json:"portIndex"`
	Command                *struct{ Value string }          `json:"command"`
	GracePeriodSeconds     float64                          `json:"gracePeriodSeconds"`
	IntervalSeconds        float64                          `json:"intervalSeconds"`
	TimeoutSeconds         float64                          `json:"timeoutSeconds"`
	DelaySeconds           float64                          `json:"delaySeconds"`
	MaxConsecutiveFailures uint32                           `json:"maxConsecutiveFailures"`
	HTTP                   *struct{ Path, Endpoint string } `json:"http"`
	TCP                    *struct{ Endpoint string }       `json:"tcp"`
	Exec                   *struct{ Command struct{ Shell string } }
}

type appSpec struct {
	Cmd         string            `json:"cmd"`
	Args        []string          `json:"args"`
	Cpus        float64           `json:"cpus"`
	Mem         float64           `json:"mem"`
	Disk        float64           `json:"disk"`
	User        string            `json:"user"`
	Role        string            `json:"role"`
	Labels      map[string]string `json:"labels"`
	Env         map[string]any    `json:"env"`
	Networks    []network         `json:"networks"`
	Constraints [][]string        `json:"constraints"`
	Container   *struct {
		Type         string        `json:"type"`
		PortMappings []portMapping `json:"portMappings"`
		Docker       *struct {
			Image          string                        `json:"image"`
			Privileged     bool                          `json:"privileged"`
			ForcePullImage bool                          `json:"forcePullImage"`
			Parameters     []struct{ Key, Value string } `json:"parameters"`
		} `json:"docker"`
	} `json:"container"`
	PortDefinitions     []portDefinition `json:"portDefinitions"`
	HealthChecks        []healthCheck    `json:"healthChecks"`
	UpgradeStrategy     upgradeStrategy  `json:"upgradeStrategy"`
	UnreachableStrategy any              `json:"unreachableStrategy"`
	BackoffSeconds      *float64         `json:"backoffSeconds"`
	KillGrace           float64          `json:"taskKillGracePeriodSeconds"`
	Dependencies        []string         `json:"dependencies"`
}

type upgradeStrategy struct {
	MinimumHealthCapacity float64 `json:"minimumHealthCapacity"`
	MaximumOverCapacity   float64 `json:"maximumOverCapacity"`
}

type podSpec struct {
	User        string            `json:"user"`
	Labels      map[string]string `json:"labels"`
	Environment map[string]any    `json:"environment"`
	Networks    []network         `json:"networks"`
	Role        string            `json:"role"`
	Containers  []struct {
		Name string `json:"name"`
		Exec *struct {
			Command struct {
				Shell string   `json:"shell"`
				Argv  []string `json:"argv"`
			} `json:"command"`
		} `json:"exec"`
		Resources   struct{ Cpus, Mem, Disk float64 } `json:"resources"`
		Endpoints   []endpoint                        `json:"endpoints"`
		Labels      map[string]string                 `json:"labels"`
		Environment map[string]any                    `json:"environment"`
		User        string                            `json:"user"`
		HealthCheck *healthCheck                      `json:"healthCheck"`
		Lifecycle   struct {
			KillGracePeriodSeconds float64 `json:"killGracePeriodSeconds"`
		} `json:"lifecycle"`
	} `json:"containers"`
	ExecutorResources *struct{ Cpus, Mem, Disk float64 } `json:"executorResources"`
	Scheduling        struct {
		Backoff struct {
			Backoff *float64 `json:"backoff"`
		} `json:"backoff"`
		Upgrade   *upgradeStrategy `json:"upgrade"`
		Placement struct {
			Constraints []struct{ FieldName, Operator, Value string } `json:"constraints"`
		} `json:"placement"`
		UnreachableStrategy any `json:"unreachableStrategy"`
	} `json:"scheduling"`
}

type endpoint struct {
	Name          string            `json:"name"`
	ContainerPort int               `json:"containerPort"`
	HostPort      *int              `json:"hostPort"`
	Protocol      []string          `json:"protocol"`
	Labels        map[string]string `json:"labels"`
	NetworkNames  []string          `json:"networkNames"`
}

func (s *runSpec) constraints() [][]string {
	if !s.pod {
		return s.app.Constraints
	}
	var out [][]string
	for _, c := range s.podSpec.Scheduling.Placement.Constraints {
		out = append(out, []string{c.FieldName, c.Operator, c.Value})
	}
	return out
}

func (s *runSpec) upgrade() upgradeStrategy {
	if !s.pod {
		return s.app.UpgradeStrategy
	}
	if s.podSpec.Scheduling.Upgrade != nil {
		return *s.podSpec.Scheduling.Upgrade
	}
	return upgradeStrategy{1, 1}
}

func (s *runSpec) backoff() time.Duration {
	p := s.app.BackoffSeconds
	if s.pod {
		p = s.podSpec.Scheduling.Backoff.Backoff
	}
	if p == nil {
		return time.Second
	}
	return time.Duration(*p * float64(time.Second))
}

// unreachable is when an unreachable instance is replaced and forgotten; off
// when it never is. The default of an ephemeral app is at once, both.
func (s *runSpec) unreachable() (inactive, expunge time.Duration, off bool) {
	v := s.app.UnreachableStrategy
	if s.pod {
		v = s.podSpec.Scheduling.UnreachableStrategy
	}
	switch v := v.(type) {
	case string:
		return 0, 0, v == "disabled"
	case object:
		in, _ := v["inactiveAfterSeconds"].(float64)
		ex, _ := v["expungeAfterSeconds"].(float64)
		return time.Duration(in * float64(time.Second)), time.Duration(ex * float64(time.Second)), false
	}
	return 0, 0, false
}

func (s *runSpec) role() string {
	role := s.app.Role
	if s.pod {
		role = s.podSpec.Role
	}
	if role == "" {
		return "*"
	}
	return role
}

// safe is an id as task ids carry it.
func safe(id string) string { return strings.ReplaceAll(strings.TrimPrefix(id, "/"), "/", "_") }

// parent is the group of an app or group.
func parent(id string) string {
	i := strings.LastIndexByte(id, '/')
	if i <= 0 {
		return "/"
	}
	return id[:i]
}

// absolute resolves an id within a group.
func absolute(id, group string) string {
	if strings.HasPrefix(id, "/") {
		return strings.TrimSuffix(id, "/")
	}
	return strings.TrimSuffix(group, "/") + "/" + id
}

var segment = regexp.MustCompile(`^(([a-z0-9]|[a-z0-9][a-z0-9\-]*[a-z0-9])\.)*([a-z0-9]|[a-z0-9][a-z0-9\-]*[a-z0-9])$`)

func validID(id string) bool {
	if len(id) < 2 {
		return false
	}
	for s := range strings.SplitSeq(strings.TrimPrefix(id, "/"), "/") {
		if !segment.MatchString(s) {
			return false
		}
	}
	return true
}

// invalid is a 422: what is wrong, and where.
type invalid struct{ path, why string }

func (e invalid) Error() string { return e.path + ": " + e.why }

// parse makes a spec of a normalised object.
func parse(raw object, pod bool) (*runSpec, error) {
	id, _ := raw["id"].(string)
	if !validID(id) {
		return nil, invalid{"/id", "must fully match regular expression '" + segment.String() + "'"}
	}
	s := &runSpec{id: id, pod: pod, raw: raw}
	b, err := json.Marshal(raw)
	if err != nil {
		return nil, err
	}
	if pod {
		err = json.Unmarshal(b, &s.podSpec)
		s.instances = 1
		if scaling, ok := raw["scaling"].(object); ok {
			if n, ok := scaling["instances"].(float64); ok {
				s.instances = int(n)
			}
		}
		if len(s.podSpec.Containers) == 0 {
			return nil, invalid{"/containers", "must not be empty"}
		}
	} else {
		err = json.Unmarshal(b, &s.app)
		n, _ := raw["instances"].(float64)
		s.instances = int(n)
		if s.app.Cmd == "" && len(s.app.Args) == 0 && (s.app.Container == nil || s.app.Container.Docker == nil) {
			return nil, invalid{"/", "AppDefinition must either contain one of 'cmd' or 'args', and/or a 'container'."}
		}
	}
	if err != nil {
		return nil, invalid{"/", err.Error()}
	}
	if err := checkNetworks(s); err != nil {
		return nil, err
	}
	return s, nil
}

func checkNetworks(s *runSpec) error {
	networks := s.app.Networks
	if s.pod {
		networks = s.podSpec.Networks
	}
	modes := map[string]int{}
	for _, n := range networks {
		modes[n.Mode]++
	}
	if len(modes) > 1 || modes["host"] > 1 || modes["container/bridge"] > 1 {
		return invalid{"/networks", "may not mix networks of different modes, nor have several of host or container/bridge"}
	}
	return nil
}

// change says what an update of a spec means for its tasks.
func (s *runSpec) sameConfig(o *runSpec) bool {
	return reflect.DeepEqual(essence(s.raw), essence(o.raw))
}

// essence is a spec without its size.
func essence(raw object) object {
	out := maps.Clone(raw)
	delete(out, "instances")
	if scaling, ok := out["scaling"].(object); ok {
		scaling = maps.Clone(scaling)
		delete(scaling, "instances")
		out["scaling"] = scaling
	}
	return out
}

// versionFormat is how Marathon writes times.
const versionFormat = "2006-01-02T15:04:05.000Z"

func stamp(t time.Time) string { return t.UTC().Format(versionFormat) }

// model is the spec as REST shows it.
func (s *runSpec) model() object {
	out := maps.Clone(s.raw)
	out["version"] = stamp(s.version)
	if !s.pod {
		out["versionInfo"] = object{"lastScalingAt": stamp(s.scaledAt), "lastConfigChangeAt": stamp(s.config)}
	}
	return out
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
