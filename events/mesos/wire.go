package mesos

import "github.com/taskwall/taskwall/events/mirror"

// The shapes in which a master speaks, reduced to the fields that are used.
// JSON is decoded into them; protobuf is converted to them, so that there is
// one reduction to events. Enums are strings: an unknown value is just another
// (mesos-go's JSON codec fails the whole record on one, CLUSTER-API 6.1). No
// field can hold a command, an environment or a status's data.

type wireEvent struct {
	Type             string                `json:"type"`
	Subscribed       *wireSubscribed       `json:"subscribed"`
	TaskAdded        *wireTaskAdded        `json:"task_added"`
	TaskUpdated      *wireTaskUpdated      `json:"task_updated"`
	FrameworkAdded   *wireFrameworkChange  `json:"framework_added"`
	FrameworkUpdated *wireFrameworkChange  `json:"framework_updated"`
	FrameworkRemoved *wireFrameworkRemoved `json:"framework_removed"`
	AgentAdded       *wireAgentAdded       `json:"agent_added"`
	AgentRemoved     *wireAgentRemoved     `json:"agent_removed"`

	partial bool // not all of it could be decoded
}

type wireTaskAdded struct {
	Task wireTask `json:"task"`
}

type wireFrameworkChange struct {
	Framework wireFramework `json:"framework"`
}

type wireFrameworkRemoved struct {
	Info wireFrameworkInfo `json:"framework_info"`
}

type wireAgentAdded struct {
	Agent wireAgent `json:"agent"`
}

type wireAgentRemoved struct {
	AgentID value `json:"agent_id"`
}

type wireResponse struct {
	Type         string         `json:"type"`
	GetAgents    *wireAgents    `json:"get_agents"`
	GetExecutors *wireExecutors `json:"get_executors"`
}

type wireSubscribed struct {
	State             *wireState `json:"get_state"`
	HeartbeatInterval float64    `json:"heartbeat_interval_seconds"`
}

type wireState struct {
	Tasks struct {
		Pending     []wireTask `json:"pending_tasks"`
		Tasks       []wireTask `json:"tasks"`
		Orphan      []wireTask `json:"orphan_tasks"` // masters before 1.2
		Unreachable []wireTask `json:"unreachable_tasks"`
		Completed   []wireTask `json:"completed_tasks"`
	} `json:"get_tasks"`
	Executors  wireExecutors `json:"get_executors"`
	Frameworks struct {
		Frameworks []wireFramework `json:"frameworks"`
		Completed  []wireFramework `json:"completed_frameworks"`
	} `json:"get_frameworks"`
	Agents wireAgents `json:"get_agents"`
}

type wireAgents struct {
	Agents    []wireAgent     `json:"agents"`
	Recovered []wireAgentInfo `json:"recovered_agents"`
}

type wireExecutors struct {
	Executors []wireExecutor `json:"executors"`
}

type wireExecutor struct {
	Agent value `json:"agent_id"`
	Info  struct {
		Type      string         `json:"type"`
		ID        value          `json:"executor_id"`
		Framework value          `json:"framework_id"`
		Resources []wireResource `json:"resources"`
		Labels    wireLabels     `json:"labels"`
		Container *wireContainer `json:"container"`
	} `json:"executor_info"`
}

type wireTaskUpdated struct {
	Framework value      `json:"framework_id"`
	Status    wireStatus `json:"status"`
	State     string     `json:"state"`
}

type wireTask struct {
	Name      string         `json:"name"`
	ID        value          `json:"task_id"`
	Framework value          `json:"framework_id"`
	Executor  *value         `json:"executor_id"`
	Agent     value          `json:"agent_id"`
	State     string         `json:"state"`
	Resources []wireResource `json:"resources"`
	Statuses  []wireStatus   `json:"statuses"`
	Labels    wireLabels     `json:"labels"`
	Discovery struct {
		Ports struct {
			Ports []wirePort `json:"ports"`
		} `json:"ports"`
	} `json:"discovery"`
	Container *wireContainer `json:"container"`
}

type wireResource struct {
	Name       string     `json:"name"`
	Scalar     wireScalar `json:"scalar"`
	Role       string     `json:"role"`
	Allocation struct {
		Role string `json:"role"`
	} `json:"allocation_info"`
}

type wireStatus struct {
	TaskID    value               `json:"task_id"`
	State     string              `json:"state"`
	Reason    string              `json:"reason"`
	Message   string              `json:"message"`
	AgentID   value               `json:"agent_id"`
	Timestamp float64             `json:"timestamp"`
	Healthy   *bool               `json:"healthy"`
	Container wireContainerStatus `json:"container_status"`
}

type wireContainerStatus struct {
	ID       *wireContainerID `json:"container_id"`
	Networks []wireNetwork    `json:"network_infos"`
}

type wireContainerID struct {
	Value  string           `json:"value"`
	Parent *wireContainerID `json:"parent"`
}

type wireContainer struct {
	Type     string        `json:"type"`
	Networks []wireNetwork `json:"network_infos"`
	Docker   struct {
		PortMappings []wirePortMapping `json:"port_mappings"`
	} `json:"docker"`
}

type wireNetwork struct {
	Name         string            `json:"name"`
	Labels       wireLabels        `json:"labels"`
	PortMappings []wirePortMapping `json:"port_mappings"`
	Addresses    []wireAddress     `json:"ip_addresses"`
}

type wireAddress struct {
	Address string `json:"ip_address"`
}

type wirePortMapping struct {
	Host      uint32 `json:"host_port"`
	Container uint32 `json:"container_port"`
	Protocol  string `json:"protocol"`
}

type wirePort struct {
	Number   uint32     `json:"number"`
	Name     string     `json:"name"`
	Protocol string     `json:"protocol"`
	Labels   wireLabels `json:"labels"`
}

type wireLabels struct {
	Labels []mirror.Label `json:"labels"`
}

type wireFramework struct {
	Info         wireFrameworkInfo `json:"framework_info"`
	Active       bool              `json:"active"`
	Connected    bool              `json:"connected"`
	Registered   wireTime          `json:"registered_time"`
	Reregistered wireTime          `json:"reregistered_time"`
}

type wireFrameworkInfo struct {
	ID        value    `json:"id"`
	Name      string   `json:"name"`
	Principal string   `json:"principal"`
	Role      string   `json:"role"` // before MULTI_ROLE
	Roles     []string `json:"roles"`
}

type wireAgent struct {
	Info         wireAgentInfo  `json:"agent_info"`
	Total        []wireResource `json:"total_resources"`
	Allocated    []wireResource `json:"allocated_resources"`
	Active       bool           `json:"active"`
	Deactivated  bool           `json:"deactivated"`
	PID          string         `json:"pid"`
	Registered   wireTime       `json:"registered_time"`
	Reregistered wireTime       `json:"reregistered_time"`
}

type wireAgentInfo struct {
	ID         value           `json:"id"`
	Hostname   string          `json:"hostname"`
	Port       int             `json:"port"`
	Attributes []wireAttribute `json:"attributes"`
}

type wireAttribute struct {
	Name   string      `json:"name"`
	Text   *value      `json:"text"`
	Scalar *wireScalar `json:"scalar"`
	Ranges *wireRanges `json:"ranges"`
	Set    *wireSet    `json:"set"`
}

type wireScalar struct {
	Value float64 `json:"value"`
}

type wireRanges struct {
	Range []wireRange `json:"range"`
}

type wireRange struct {
	Begin uint64 `json:"begin"`
	End   uint64 `json:"end"`
}

type wireSet struct {
	Item []string `json:"item"`
}

type value struct {
	Value string `json:"value"`
}

type wireTime struct {
	Nanoseconds int64 `json:"nanoseconds"`
}
