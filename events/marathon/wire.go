package marathon

import (
	"encoding/json"
	"errors"
	"strings"
	"time"
)

// The shapes in which Marathon speaks, reduced to the fields that are used: in
// no one could an environment, a command or a secret be kept.

type wireInfo struct {
	Name      string `json:"name"`
	Version   string `json:"version"`
	Leader    string `json:"leader"`
	Framework string `json:"frameworkId"`
	Config    struct {
		FrameworkName string `json:"framework_name"`
	} `json:"marathon_config"`
}

type wireGroup struct {
	ID      string          `json:"id"`
	Version string          `json:"version"`
	Apps    list[wireApp]   `json:"apps"`
	Pods    list[wireGPod]  `json:"pods"`
	Groups  list[wireGroup] `json:"groups"`
}

// whole reports whether a group has all the lists that were asked for, and its
// own names in them, and so has each below it. Marathon writes an empty list as
// [], at every depth (CLUSTER-API 2): one that is not there says nothing of what
// is in it.
func (g *wireGroup) whole() bool {
	if g.Apps == nil || g.Pods == nil || g.Groups == nil {
		return false
	}
	for i := range g.Apps {
		if !g.holds(g.Apps[i].ID) {
			return false
		}
	}
	for i := range g.Pods {
		if !g.holds(g.Pods[i].Spec.ID) {
			return false
		}
	}
	for i := range g.Groups {
		if !g.holds(g.Groups[i].ID) || !g.Groups[i].whole() {
			return false
		}
	}
	return true
}

// holds reports whether an id is one of something directly in the group.
// Marathon's answers have absolute ids alone (CLUSTER-API 1.3).
func (g *wireGroup) holds(id string) bool {
	name, in := strings.CutPrefix(id, strings.TrimSuffix(absolute(g.ID), "/")+"/")
	return in && name != "" && !strings.Contains(name, "/")
}

// list is one whose absence from an answer means something: what is no list
// makes the answer none, instead of an empty one. It is nil if it was not there.
type list[T any] []T

var errNoList = errors.New("something else where a list belongs")

func (l *list[T]) UnmarshalJSON(b []byte) error {
	if len(b) == 0 || b[0] != '[' {
		return errNoList
	}
	return lenient(json.Unmarshal(b, (*[]T)(l)))
}

type wireApp struct {
	ID        string            `json:"id"`
	Version   string            `json:"version"`
	Instances int               `json:"instances"`
	Labels    map[string]string `json:"labels"`
	Networks  []wireNetwork     `json:"networks"`
	Container *struct {
		PortMappings []wirePort `json:"portMappings"`
	} `json:"container"`
	PortDefinitions []wirePort `json:"portDefinitions"`
}

// wireGPod is a pod in a group: its status, of which the specification is part.
type wireGPod struct {
	Spec wirePod `json:"spec"`
}

type wirePod struct {
	ID       string            `json:"id"`
	Version  string            `json:"version"`
	Labels   map[string]string `json:"labels"`
	Networks []wireNetwork     `json:"networks"`
	Scaling  struct {
		Instances int `json:"instances"`
	} `json:"scaling"`
	Containers []struct {
		Endpoints []struct {
			Name          string   `json:"name"`
			ContainerPort int      `json:"containerPort"`
			HostPort      int      `json:"hostPort"`
			Protocol      []string `json:"protocol"`
		} `json:"endpoints"`
	} `json:"containers"`
}

type wireNetwork struct {
	Name string `json:"name"`
	Mode string `json:"mode"`
}

type wirePort struct {
	Name          string `json:"name"`
	ContainerPort int    `json:"containerPort"` // of a mapping
	Port          int    `json:"port"`          // of a definition
	Protocol      string `json:"protocol"`
}

// wireDeployment is a deployment as /v2/deployments lists it, and the plan of
// one in an event.
type wireDeployment struct {
	ID           string     `json:"id"`
	Version      string     `json:"version"`
	AffectedApps []string   `json:"affectedApps"`
	AffectedPods []string   `json:"affectedPods"`
	Steps        []wireStep `json:"steps"`
}

// wireStep is a step of a deployment: its actions. Marathon has written it as
// an object with actions, as a bare list of them, and as one bare action.
type wireStep []wireAction

type wireAction struct {
	Action string `json:"action"`
	Type   string `json:"type"` // its name in older events
	App    string `json:"app"`
	Pod    string `json:"pod"`
}

func (s *wireStep) UnmarshalJSON(b []byte) error {
	*s = nil
	if len(b) > 0 && b[0] == '[' {
		return lenient(json.Unmarshal(b, (*[]wireAction)(s)))
	}
	var step struct {
		Actions []wireAction `json:"actions"`
		wireAction
	}
	err := lenient(json.Unmarshal(b, &step))
	if *s = step.Actions; len(*s) == 0 && step.wireAction != (wireAction{}) {
		*s = wireStep{step.wireAction}
	}
	return err
}

// wireEvent is what is used of any event.
type wireEvent struct {
	Type       string          `json:"eventType"`
	Timestamp  string          `json:"timestamp"`
	ID         string          `json:"id"`      // deployment_success, deployment_failed
	GroupID    string          `json:"groupId"` // group_change_success
	AppID      string          `json:"appId"`   // app_terminated_event
	Version    string          `json:"version"`
	URI        string          `json:"uri"`      // api_post_event, pod_*_event
	ClientIP   string          `json:"clientIp"` // api_post_event
	Reason     json.RawMessage `json:"reason"`
	Plan       *wireDeployment `json:"plan"`
	Definition *struct {
		ID      string `json:"id"`
		Version string `json:"version"`
	} `json:"appDefinition"` // api_post_event, which has the environment in it
}

// lenient makes a value of the wrong type no reason to lose what is around it:
// encoding/json skips such a value, decodes the rest and then says so.
func lenient(err error) error {
	if wrong := (*json.UnmarshalTypeError)(nil); errors.As(err, &wrong) {
		return nil
	}
	return err
}

// timestamp is a time as Marathon writes it, with or without a fraction; zero
// if it is none.
func timestamp(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return time.Time{}
	}
	return t.UTC()
}
