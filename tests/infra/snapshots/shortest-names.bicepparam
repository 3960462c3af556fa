// The shortest name of each thing that can be named.
using '../../../infra/main.bicep'

param environmentName = 'd'
param location = 'westeurope'
param workspaceResourceId = '/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/rg-sentinel/providers/Microsoft.OperationalInsights/workspaces/log-sentinel'
param webhookUrl = 'https://example.com/hook'
param webhookFormat = 'ocsf'
param incidentTable = 'inc'
