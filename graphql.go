package mirror

import (
	"encoding/json"
	"net/http"
	"regexp"
)

// operationName matches the name of the first operation in a GraphQL document.
var operationName = regexp.MustCompile(`(?:^|[\s}])(?:query|mutation|subscription)\s+([_A-Za-z][_0-9A-Za-z]*)`)

// plainName is what a name in GraphQL looks like (its specification, section 2.1.9).
var plainName = regexp.MustCompile(`^[_A-Za-z][_0-9A-Za-z]{0,99}$`)

// operationOf returns the name of the operation that a GraphQL request is for, from its
// body or its query; "" if it has none. All of a service's operations have one path.
func operationOf(out *http.Request, body []byte) string {
	query := out.URL.Query()
	request := &graphQLRequest{OperationName: query.Get("operationName"), Query: query.Get("query")}
	if len(body) > 0 && json.Unmarshal(body, request) != nil {
		request.Query = string(body) // application/graphql
	}
	if request.OperationName == "" {
		if found := operationName.FindStringSubmatch(request.Query); found != nil {
			request.OperationName = found[1]
		}
	}
	if !plainName.MatchString(request.OperationName) {
		return ""
	}
	return request.OperationName
}

// A graphQLRequest is what is read of one.
type graphQLRequest struct {
	OperationName string `json:"operationName"`
	Query         string `json:"query"`
}
