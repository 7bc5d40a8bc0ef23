package marathon

import (
	"encoding/json"
	"time"
)

// The events of CLUSTER-API 1.4, keys in their order. Every one ends with the
// embedded head or begins with its own keys as Marathon's play-json writes them.

type head struct {
	EventType string `json:"eventType"`
	Timestamp string `json:"timestamp"`
}

type ipAddress struct {
	IPAddress string `json:"ipAddress"`
	Protocol  string `json:"protocol"`
}

type statusUpdate struct {
	SlaveID     string      `json:"slaveId"`
	TaskID      string      `json:"taskId"`
	TaskStatus  string      `json:"taskStatus"`
	Message     string      `json:"message"`
	AppID       string      `json:"appId"`
	Host        string      `json:"host"`
	IPAddresses []ipAddress `json:"ipAddresses"`
	Ports       []int       `json:"ports"`
	Version     string      `json:"version"`
	head
}

type instanceChanged struct {
	InstanceID     string  `json:"instanceId"`
	Condition      string  `json:"condition"`
	RunSpecID      string  `json:"runSpecId"`
	AgentID        *string `json:"agentId"`
	Host           *string `json:"host"`
	RunSpecVersion string  `json:"runSpecVersion"`
	Timestamp      string  `json:"timestamp"`
	EventType      string  `json:"eventType"`
}

type instanceHealthChanged struct {
	InstanceID     string `json:"instanceId"`
	RunSpecID      string `json:"runSpecId"`
	Healthy        *bool  `json:"healthy"`
	RunSpecVersion string `json:"runSpecVersion"`
	Timestamp      string `json:"timestamp"`
	EventType      string `json:"eventType"`
}

type unknownTerminated struct {
	InstanceID string `json:"instanceId"`
	RunSpecID  string `json:"runSpecId"`
	Condition  string `json:"condition"`
	Timestamp  string `json:"timestamp"`
	EventType  string `json:"eventType"`
}

type appTerminated struct {
	AppID string `json:"appId"`
	head
}

type apiPost struct {
	ClientIP      string `json:"clientIp"`
	URI           string `json:"uri"`
	AppDefinition object `json:"appDefinition"`
	head
}

type podEvent struct {
	ClientIP string `json:"clientIp"`
	URI      string `json:"uri"`
	head
}

type addHealthCheck struct {
	AppID       string `json:"appId"`
	HealthCheck any    `json:"healthCheck"`
	Version     string `json:"version"`
	head
}

// failedHealthCheck's TaskID holds an instance id.
type failedHealthCheck struct {
	AppID       string `json:"appId"`
	HealthCheck any    `json:"healthCheck"`
	TaskID      string `json:"taskId"`
	head
}

type healthStatusChanged struct {
	AppID      string `json:"appId"`
	InstanceID string `json:"instanceId"`
	Version    string `json:"version"`
	Alive      bool   `json:"alive"`
	head
}

type unhealthyKill struct {
	AppID      string `json:"appId"`
	TaskID     string `json:"taskId"`
	InstanceID string `json:"instanceId"`
	Version    string `json:"version"`
	Reason     string `json:"reason"`
	Host       string `json:"host"`
	SlaveID    string `json:"slaveId,omitempty"`
	head
}

type groupChange struct {
	GroupID string `json:"groupId"`
	Version string `json:"version"`
	Reason  string `json:"reason,omitempty"` // of one that failed
	head
}

type action struct {
	Action string `json:"action"`
	App    string `json:"app,omitempty"`
	Pod    string `json:"pod,omitempty"`
}

type step struct {
	Actions []action `json:"actions"`
}

type plan struct {
	ID      string `json:"id"`
	Steps   []step `json:"steps"`
	Version string `json:"version"`
}

type deploymentEvent struct {
	Plan        plan `json:"plan"`
	CurrentStep step `json:"currentStep"`
	head
}

type deploymentEnd struct {
	ID   string `json:"id"`
	Plan plan   `json:"plan"`
	head
	Reason string `json:"reason,omitempty"`
}

type schedulerRegistered struct {
	FrameworkID string `json:"frameworkId,omitempty"`
	Master      string `json:"master,omitempty"`
	head
}

type streamEvent struct {
	RemoteAddress string `json:"remoteAddress"`
	head
}

func (m *Marathon) head(kind string) head { return head{kind, stamp(m.cfg.Clock.Now())} }

// publish puts an event on the bus.
func (m *Marathon) publish(kind string, event any) {
	data, err := json.Marshal(event)
	if err != nil {
		panic("marathon: event " + kind + ": " + err.Error())
	}
	m.bus.publish(Event{Type: kind, Data: data})
}

func (m *Marathon) publishInstance(i *instance, condition string) {
	e := instanceChanged{
		InstanceID: i.id, Condition: condition, RunSpecID: i.spec.id, RunSpecVersion: stamp(i.spec.version),
		Timestamp: stamp(m.cfg.Clock.Now()), EventType: "instance_changed_event",
	}
	if i.agentID != "" {
		e.AgentID, e.Host = &i.agentID, &i.host
	}
	m.publish(e.EventType, e)
}

func (m *Marathon) publishStatus(i *instance, t *task, message string) {
	e := statusUpdate{
		SlaveID: i.agentID, TaskID: t.id, TaskStatus: t.status, Message: message, AppID: i.spec.id, Host: i.host,
		IPAddresses: t.ips, Ports: t.ports, Version: stamp(i.spec.version), head: m.head("status_update_event"),
	}
	if e.Host == "" {
		e.Host = "unknown"
	}
	if e.IPAddresses == nil {
		e.IPAddresses = []ipAddress{}
	}
	if e.Ports == nil {
		e.Ports = []int{}
	}
	if len(e.Message) > 10000 {
		e.Message = e.Message[:10000]
	}
	m.publish("status_update_event", e)
}

// version makes a new version: a time later than every one before.
func (m *Marathon) newVersion() time.Time {
	now := m.cfg.Clock.Now().UTC().Truncate(time.Millisecond)
	if !now.After(m.lastVersion) {
		now = m.lastVersion.Add(time.Millisecond)
	}
	m.lastVersion = now
	return now
}
