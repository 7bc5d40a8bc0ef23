package events

import (
	"encoding/json"
	"time"
)

// Schema is the version of the event format written today. A reader accepts
// every version up to this one; a writer writes only this one. A field that the
// fold reads and earlier versions do not know raises it: they would fold on
// without the field, to another state. Then they stop instead.
const Schema = 1

// Kind says what happened, and so which body an Event carries.
type Kind string

// The kinds of event. "Put" events carry the whole new level of one thing, so
// that folding one twice, or after a lost predecessor, gives the same state.
const (
	TaskPut       Kind = "task.put"       // body: Task
	TaskGone      Kind = "task.gone"      // body: Gone (key: TaskKey)
	HostPut       Kind = "host.put"       // body: Host
	HostGone      Kind = "host.gone"      // body: Gone (key: Mesos agent id)
	FrameworkPut  Kind = "framework.put"  // body: Framework
	FrameworkGone Kind = "framework.gone" // body: Gone (key: framework id)
	MarathonPut   Kind = "marathon.put"   // body: Marathon
	AppPut        Kind = "app.put"        // body: App
	AppGone       Kind = "app.gone"       // body: Gone (key: app id)
	DeploymentPut Kind = "deployment.put" // body: Deployment
	PolicyApply   Kind = "policy.apply"   // body: PolicyChange
	SettingsPut   Kind = "settings.put"   // body: Settings
	AgentJoin     Kind = "agent.join"     // body: Join
	EndpointState Kind = "endpoint.state" // body: Wiring
	TermBegin     Kind = "term.begin"     // body: Term
	BGPSession    Kind = "bgp.session"    // body: Session
	BGPRefused    Kind = "bgp.refused"    // body: RouteRefusal
	HostDrain     Kind = "host.drain"     // body: Drain

	// Foreign is what the log's stream holds and no controller wrote, such as an
	// operator's message by mistake: it has no body, says nothing, and is never
	// appended.
	Foreign Kind = "foreign"
)

// Event is one entry's content in the log: something that happened. Exactly
// one body is set, the one its Kind names.
type Event struct {
	Schema int `json:"v"`
	// ID is stable: the same happening seen twice gets the same id, and the
	// log keeps the first (JetStream's message id).
	ID   string `json:"id"`
	Kind Kind   `json:"kind"`
	// Source names who said it: "mesos", "marathon", "policy", "controller",
	// "operator" or "agent/<host>".
	Source string `json:"source"`
	// Time is the source's own time of the happening where it gives one, else
	// equal to Received. Received is when this system first saw it. Both UTC.
	Time     time.Time `json:"time"`
	Received time.Time `json:"received"`

	Task       *Task         `json:"task,omitempty"`
	Host       *Host         `json:"host,omitempty"`
	Framework  *Framework    `json:"framework,omitempty"`
	Marathon   *Marathon     `json:"marathon,omitempty"`
	App        *App          `json:"app,omitempty"`
	Deployment *Deployment   `json:"deployment,omitempty"`
	Policy     *PolicyChange `json:"policy,omitempty"`
	Settings   *Settings     `json:"settings,omitempty"`
	Join       *Join         `json:"join,omitempty"`
	Wiring     *Wiring       `json:"wiring,omitempty"`
	Session    *Session      `json:"session,omitempty"`
	Refused    *RouteRefusal `json:"refused,omitempty"`
	Drain      *Drain        `json:"drain,omitempty"`
	Term       *Term         `json:"term,omitempty"`
	Gone       *Gone         `json:"gone,omitempty"`
}

// Entry is an Event at its place in the log.
type Entry struct {
	Seq   uint64 // from 1, without gaps: the stream sequence
	Event Event
}

// Gone says that the thing with this key no longer exists.
type Gone struct {
	Key    string `json:"key"`
	Reason string `json:"reason,omitempty"`
}

// Term is the time for which one controller leads. The record that begins it
// changes nothing on any host; whoever wrote the log before is refused after it.
type Term struct {
	Leader  string `json:"leader"`
	Epoch   uint64 `json:"epoch"` // greater than that of every term before
	Version string `json:"version,omitempty"`
}

// PolicyChange is one reviewed change of the policy resources. It is applied
// as a whole or, when a resource in it is invalid, not at all.
type PolicyChange struct {
	Author  string        `json:"author"`
	Commit  string        `json:"commit,omitempty"`
	Message string        `json:"message,omitempty"`
	Put     []Resource    `json:"put,omitempty"`
	Delete  []ResourceKey `json:"delete,omitempty"`
}

// Settings are the controller's settings that change what the fold decides.
// They are in the log like all else that does, so that a replay decides alike.
type Settings struct {
	// Networks are the names of the Mesos networks whose tasks get an address.
	Networks []string `json:"networks"`
	// EnvironmentLabel is the label whose value is an endpoint's environment.
	EnvironmentLabel string `json:"environmentLabel"`
	// Hold is how long a released address is kept from reuse, in nanoseconds.
	Hold time.Duration `json:"hold"`
	// Cluster is the name that the operator gave the Mesos cluster, or empty. No
	// controller of another may lead.
	Cluster string `json:"cluster,omitempty"`
}

// DefaultSettings are in force until the log says otherwise.
func DefaultSettings() Settings {
	return Settings{Networks: []string{"taskwall"}, EnvironmentLabel: "taskwall.environment", Hold: time.Minute}
}

// ResourceKey names a policy resource. Namespace is empty for global kinds.
type ResourceKey struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
}

// String is "Kind name" or "Kind namespace/name".
func (k ResourceKey) String() string {
	if k.Namespace == "" {
		return k.Kind + " " + k.Name
	}
	return k.Kind + " " + k.Namespace + "/" + k.Name
}

// Resource is one policy resource as the log carries it: the normalised JSON
// of a projectcalico.org/v3 document, and where it was written.
type Resource struct {
	ResourceKey
	File  string          `json:"file,omitempty"`
	Line  int             `json:"line,omitempty"`
	Lines *RuleLines      `json:"lines,omitempty"` // of a policy
	Body  json.RawMessage `json:"body"`
}

// Join says that the taskwall agent of a host has started, or has lost its
// place, and needs the host's whole picture as its next work item.
type Join struct {
	Host    string `json:"host"`
	Address string `json:"address,omitempty"` // the host's own address, by which others reach its block
	Version string `json:"version,omitempty"`
	Reason  string `json:"reason,omitempty"`
	// Rev is the revision that the host holds. It is later than what the log made
	// only when the log has lost records: the host's revisions go on after it.
	Rev    uint64 `json:"rev,omitempty"`
	Report uint64 `json:"report,omitempty"` // see Wiring.Report
}

// WiringState says how far an endpoint has come on its host.
type WiringState string

// The states of an endpoint's wiring.
const (
	Attached WiringState = "attached" // the interface is up and its posture is in the kernel
	Detached WiringState = "detached" // nothing of it is left on the host
	Failed   WiringState = "failed"   // the attach was refused or failed; Error says why
)

// Wiring is a host's word about one endpoint: see WiringState.
type Wiring struct {
	Host     string      `json:"host"`
	Endpoint string      `json:"endpoint"`
	Address  string      `json:"address,omitempty"`
	State    WiringState `json:"state"`
	// Took is how long the host worked on it, in nanoseconds.
	Took  time.Duration `json:"took,omitempty"`
	Error string        `json:"error,omitempty"`
	// Report is the place of the host's report in the REPORTS stream. A report
	// may come again after a controller died; the fold passes over repeats.
	Report uint64 `json:"report,omitempty"`
}
