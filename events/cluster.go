package events

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// Task is a Mesos task, reduced to what Taskwall uses (CLUSTER-API 3.2). It
// never carries the task's command, environment or status data.
type Task struct {
	Framework string `json:"framework"`
	ID        string `json:"id"`
	Name      string `json:"name,omitempty"`
	// Executor is the executor's id: for a command task it equals ID, the
	// tasks of a pod share one (CLUSTER-API 2.3).
	Executor string `json:"executor"`
	Agent    string `json:"agent"` // Mesos agent id
	State    string `json:"state"` // Mesos TaskState, e.g. TASK_RUNNING
	Role     string `json:"role,omitempty"`
	// Labels are the task's own; ExecutorLabels those of its executor (pods).
	// A label without a value has the value "".
	Labels         map[string]string `json:"labels,omitempty"`
	ExecutorLabels map[string]string `json:"executorLabels,omitempty"`
	// Containerizer is "mesos" or "docker".
	Containerizer string `json:"containerizer,omitempty"`
	// Container is the Mesos container id, known from TASK_STARTING on; for a
	// nested container "parent.child".
	Container string `json:"container,omitempty"`
	// Nested says that the task's container, in that of its executor, has a
	// network namespace of its own: Networks are then its own, and
	// ExecutorNetworks those of the executor, which its other tasks share
	// (CLUSTER-API 5.4, 8).
	Nested           bool      `json:"nested,omitempty"`
	Networks         []Network `json:"networks,omitempty"`
	ExecutorNetworks []Network `json:"executorNetworks,omitempty"`
	Ports            []Port    `json:"ports,omitempty"`
	Healthy          *bool     `json:"healthy,omitempty"`
	// Reason and Message are those of the latest status, and Since is its time
	// as the source gives it. A difference in Since alone is no new level.
	Reason  string    `json:"reason,omitempty"`
	Message string    `json:"message,omitempty"`
	Since   time.Time `json:"since,omitzero"`
}

// Network is one network that a task asked for by name. For a pod it is the
// executor's, if the task has none of its own.
type Network struct {
	Name      string            `json:"name"`
	Labels    map[string]string `json:"labels,omitempty"`
	Addresses []string          `json:"addresses,omitempty"` // as Mesos reports them, without prefix length
}

// Port is a named port of a task inside its own network namespace.
type Port struct {
	Name     string `json:"name"`
	Number   int    `json:"number"`
	Protocol string `json:"protocol"` // "tcp" or "udp"
}

// TaskKey identifies a task in the whole cluster.
func TaskKey(framework, id string) string { return framework + "/" + id }

// Key is the task's TaskKey.
func (t *Task) Key() string { return TaskKey(t.Framework, t.ID) }

// ExecutorKey identifies the task's executor: framework id and executor id. On
// another agent another executor may have the same.
func (t *Task) ExecutorKey() string { return t.Framework + "/" + t.Executor }

// Endpoint is the identity of the network endpoint that the task belongs to:
// its executor (DESIGN: "policy before packet"), or the task within it, if it
// is Nested. Mesos allows no backslash in an id.
func (t *Task) Endpoint() string {
	if t.Nested {
		return NestedKey(t.Framework, t.Executor, t.ID)
	}
	return t.ExecutorKey()
}

// NestedKey identifies a task that is Nested, with its executor.
func NestedKey(framework, executor, task string) string {
	return framework + "/" + executor + `\` + task
}

// IsNestedKey reports whether a key of an executor or of a task in one is a
// NestedKey.
func IsNestedKey(key string) bool { return strings.Contains(key, `\`) }

// Terminal reports whether a Mesos task state is final: the task will never
// run again. TASK_LOST and TASK_UNREACHABLE are not: such a task may return.
func Terminal(state string) bool {
	switch state {
	case "TASK_FINISHED", "TASK_FAILED", "TASK_KILLED", "TASK_ERROR",
		"TASK_DROPPED", "TASK_GONE", "TASK_GONE_BY_OPERATOR":
		return true
	}
	return false
}

// Host is a machine with a Mesos agent. Its name is the agent's hostname: a
// Mesos agent id changes when the agent loses its work directory, the machine
// does not.
type Host struct {
	Agent      string            `json:"agent"` // Mesos agent id
	Name       string            `json:"name"`  // hostname
	Address    string            `json:"address,omitempty"`
	Port       int               `json:"port,omitempty"`
	Attributes map[string]string `json:"attributes,omitempty"`
	// Reachable is false from when the master stops hearing from the agent
	// until it registers again or is known to be gone.
	Reachable bool `json:"reachable"`
	// Since is when the agent last registered, as far as the log knows. A
	// difference in it alone is no new level.
	Since time.Time `json:"since,omitzero"`
}

// Framework is a Mesos scheduler that launches tasks.
type Framework struct {
	ID        string   `json:"id"`
	Name      string   `json:"name"`
	Principal string   `json:"principal,omitempty"`
	Roles     []string `json:"roles,omitempty"`
	Active    bool     `json:"active"`
	Connected bool     `json:"connected"`
	// Since is when it last registered, as far as the log knows. A difference
	// in it alone is no new level.
	Since time.Time `json:"since,omitzero"`
}

// Marathon is what a Marathon cluster says about itself; the framework id
// links its apps to Mesos tasks (CLUSTER-API 2.1, /v2/info).
type Marathon struct {
	Framework string `json:"framework"`
	Name      string `json:"name,omitempty"`
	Version   string `json:"version,omitempty"`
	Leader    string `json:"leader,omitempty"`
}

// App is one version of a Marathon app or pod. An app's running tasks keep the
// version that they were started with.
type App struct {
	ID        string            `json:"id"` // absolute path
	Version   string            `json:"version"`
	Pod       bool              `json:"pod,omitempty"`
	Instances int               `json:"instances"`
	Labels    map[string]string `json:"labels,omitempty"`
	Networks  []string          `json:"networks,omitempty"`
	Ports     []Port            `json:"ports,omitempty"`
}

// Deployment is a change of Marathon's apps under way or ended.
type Deployment struct {
	ID      string   `json:"id"`
	Version string   `json:"version,omitempty"`
	State   string   `json:"state"` // "running", "succeeded", "failed", or "ended": how was not seen
	Apps    []string `json:"apps,omitempty"`
	Actions []string `json:"actions,omitempty"` // e.g. "ScaleApplication /shop/web"
	Reason  string   `json:"reason,omitempty"`
	// Client is the address that asked for it, as Marathon saw it: a proxy's, or
	// another member's, if that passed it on. Marathon tells it of single apps
	// that were posted or changed, and of nothing else (CLUSTER-API 1.4).
	Client string `json:"client,omitempty"`
}

// Cluster is the folded picture of the Mesos and Marathon facts. Sources keep
// one to know what the log already says; the scheduler's state holds another.
// The zero value is not ready: use NewCluster.
type Cluster struct {
	Tasks       map[string]Task       `json:"tasks"`      // by TaskKey
	Hosts       map[string]Host       `json:"hosts"`      // by Mesos agent id
	Frameworks  map[string]Framework  `json:"frameworks"` // by framework id
	Apps        map[string]App        `json:"apps"`       // by app id
	Deployments map[string]Deployment `json:"deployments"`
	Marathon    *Marathon             `json:"marathon,omitempty"`
}

// NewCluster returns an empty picture.
func NewCluster() *Cluster {
	return &Cluster{
		Tasks:       map[string]Task{},
		Hosts:       map[string]Host{},
		Frameworks:  map[string]Framework{},
		Apps:        map[string]App{},
		Deployments: map[string]Deployment{},
	}
}

// Clone returns an independent copy. Values are shared: they are never
// changed in place.
func (c *Cluster) Clone() *Cluster {
	return &Cluster{
		Tasks:       maps.Clone(c.Tasks),
		Hosts:       maps.Clone(c.Hosts),
		Frameworks:  maps.Clone(c.Frameworks),
		Apps:        maps.Clone(c.Apps),
		Deployments: maps.Clone(c.Deployments),
		Marathon:    c.Marathon,
	}
}

// Apply folds one event into the picture. Events of other kinds change
// nothing. An ended task stays until its TaskGone, so that a late duplicate of
// an earlier state can be told from a new task.
func (c *Cluster) Apply(e Event) {
	switch e.Kind {
	case TaskPut:
		c.Tasks[e.Task.Key()] = *e.Task
	case TaskGone:
		delete(c.Tasks, e.Gone.Key)
	case HostPut:
		c.Hosts[e.Host.Agent] = *e.Host
	case HostGone:
		delete(c.Hosts, e.Gone.Key)
	case FrameworkPut:
		c.Frameworks[e.Framework.ID] = *e.Framework
	case FrameworkGone:
		delete(c.Frameworks, e.Gone.Key)
	case MarathonPut:
		c.Marathon = e.Marathon
	case AppPut:
		c.Apps[e.App.ID] = *e.App
	case AppGone:
		delete(c.Apps, e.Gone.Key)
	case DeploymentPut:
		if e.Deployment.State == "running" {
			c.Deployments[e.Deployment.ID] = *e.Deployment
		} else {
			delete(c.Deployments, e.Deployment.ID)
		}
	}
}

// HostName is the host of a Mesos agent, or "" if the agent is not known.
func (c *Cluster) HostName(agent string) string { return c.Hosts[agent].Name }

// App is the Marathon app or pod of a task of Marathon's framework: by the task's
// id or, if that says nothing, the executor's.
func (t *Task) App() string {
	if app := AppOf(t.ID); app != "" {
		return app
	}
	return AppOfExecutor(t.Executor)
}

// AppOf is the Marathon app or pod that a task id belongs to, as an absolute
// path, or "" when the id is not of Marathon's form (CLUSTER-API 2.3). It does
// not check that the task's framework is Marathon.
//
//	<safe>.instance-<uuid>._app.<n>         an app
//	<safe>.instance-<uuid>.<container>.<n>  a pod's container
//	<safe>.instance-<uuid>._app             without incarnation
//	<safe>.instance-<uuid>                  older still; also "marathon-" for "instance-"
//	<safe>.<uuid>.<n>, <safe>.<uuid>        oldest
//
// The safe path is the app's with _ for /, and may hold dots and whatever else
// looks like a later part. So an id is read from its end, where Marathon wrote
// it: an app named after another one's tasks must not be taken for it.
func AppOf(task string) string {
	if rest, last, ok := cutLast(task, "."); ok && isNumber(last) {
		if safe := instanceOf(rest); safe != "" {
			return appPath(safe)
		}
	}
	if safe := instanceOf(task); safe != "" {
		return appPath(safe)
	}
	rest, last, _ := cutLast(task, ".")
	if isInstance(last) {
		return appPath(rest)
	}
	if isNumber(last) {
		rest, last, _ = cutLast(rest, "._")
	} else {
		rest, last, _ = cutLast(task, "._")
	}
	if rest != "" && isUUID(last) {
		return appPath(rest)
	}
	return ""
}

// AppOfExecutor is AppOf for an executor's id: a pod's is
// instance-<safe>.<uuid>, an app's that of its task.
func AppOfExecutor(id string) string {
	if rest, ok := strings.CutPrefix(id, "instance-"); ok {
		if safe, last, _ := cutLast(rest, "."); isUUID(last) {
			return appPath(safe)
		}
	}
	return AppOf(id)
}

// instanceOf is what stands before "instance-<uuid>" and one name, which a dot
// or an underscore parts, at the end of an id; "" if it does not end so.
func instanceOf(id string) string {
	rest, last, _ := cutLast(id, ".")
	if instance, name, ok := strings.Cut(last, "_"); ok && name != "" && isInstance(instance) {
		return rest
	}
	safe, instance, _ := cutLast(rest, ".")
	if last != "" && isInstance(instance) {
		return safe
	}
	return ""
}

// isInstance reports whether s is the part of an id that numbers an instance.
func isInstance(s string) bool {
	for _, mark := range []string{"instance-", "marathon-"} {
		if rest, ok := strings.CutPrefix(s, mark); ok && rest != "" && !strings.Contains(rest, "_") {
			return true
		}
	}
	return false
}

// cutLast cuts s at the last of any of the characters; without one all of it is last.
func cutLast(s, chars string) (rest, last string, ok bool) {
	i := strings.LastIndexAny(s, chars)
	if i < 0 {
		return "", s, false
	}
	return s[:i], s[i+1:], true
}

func isNumber(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

func appPath(safe string) string {
	if safe == "" {
		return ""
	}
	return "/" + strings.ReplaceAll(safe, "_", "/")
}

func isUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i, r := range []byte(s) {
		switch {
		case i == 8 || i == 13 || i == 18 || i == 23:
			if r != '-' {
				return false
			}
		case !strings.ContainsRune("0123456789abcdefABCDEF", rune(r)):
			return false
		}
	}
	return true
}

// SortedKeys returns a map's keys in order: the fold must never depend on the
// order in which a map is walked.
func SortedKeys[V any](m map[string]V) []string {
	if len(m) == 0 {
		return nil
	}
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
