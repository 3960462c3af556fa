// The longest name of each thing that can be named.
using '../../../infra/main.bicep'

param environmentName = 'abcdefghijklmnopqrstuvwxyz0123456789abcd'
param location = 'westeurope'
param workspaceResourceId = '/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/rg-sentinel/providers/Microsoft.OperationalInsights/workspaces/log-sentinel'
param webhookUrl = 'https://example.com/hook'
param incidentTable = 'incidents012345678901234567890123456789012345678901234567890123'
