// Package statusutil stands in for an internal module of the collector that Go's proxy does not have. The receiver
// answers with it what it refuses; nothing that it takes in comes here.
package statusutil

import (
	"net/http"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// NewStatusFromMsgAndHTTPCode is the status of a request that is refused: the sender's fault, or ours.
func NewStatusFromMsgAndHTTPCode(message string, code int) *status.Status {
	if code >= http.StatusInternalServerError {
		return status.New(codes.Unavailable, message)
	}
	return status.New(codes.InvalidArgument, message)
}

// GetRetryInfo is what a status says of when to try again, if anything.
func GetRetryInfo(refused *status.Status) *errdetails.RetryInfo {
	for _, detail := range refused.Details() {
		if found, ok := detail.(*errdetails.RetryInfo); ok {
			return found
		}
	}
	return nil
}
