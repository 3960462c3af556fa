// Storage and vault behind private endpoints, on the smallest instance.
using '../../../infra/main.bicep'

param environmentName = 'detection'
param location = 'westeurope'
param workspaceResourceId = '/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/rg-sentinel/providers/Microsoft.OperationalInsights/workspaces/log-sentinel'
param webhookUrl = 'https://example.com/hook'
param privateNetwork = true
param addressPrefix = '10.20.30.0/25'
param instanceMemoryMB = 512
param webhookFormat = 'native'
